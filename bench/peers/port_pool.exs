# A pool of Erlang ports, as a peer: elixir port_pool.exs (direct | owned) PYTHON WORKER SIZE...
#
# The workers are Python programs on ports with {:packet, 4}: the same bare_json.py that is the floor. Two pools, both
# as small as they can be without losing a dead worker or a dead caller unnoticed:
#
#   direct   in the manner of NimblePool: the pool hands the port over (Port.connect), the caller talks to it itself,
#            and hands it back
#   owned    in the manner of poolboy: each port belongs to a GenServer, which talks to it for the caller
#
# Answers each line "SIZE CALLERS CALLS WORK" on stdin with "calls/s p50-in-µs". JSON is jiffy's (a codec in C): OTP 25 has
# none, and Jason, which most Elixir programs use, is slower.

defmodule Message do
  def work("empty"), do: {"empty", []}
  def work("floats"), do: {"same", [for(i <- 0..9_999, do: :math.sqrt(i))]}

  def request({name, args}, number) do
    # A list of chunks where it is long, which a port takes as it is.
    :jiffy.encode([1, number, 1, name, args, {[{"ms", 60_000}]}])
  end

  def check(reply, number) do
    [2, ^number, 1, result] = :jiffy.decode(reply)
    result
  end
end

# The queue of callers and the list of free workers, for both kinds.
defmodule PortPool do
  use GenServer

  def start_link(kind, open, size), do: GenServer.start_link(__MODULE__, {kind, open, size})
  def checkout(pool), do: GenServer.call(pool, :checkout, :infinity)
  def checkin(pool, reference, worker), do: send(pool, {:checkin, reference, worker})

  def init({kind, open, size}) do
    Process.flag(:trap_exit, true)
    {:ok, %{kind: kind, free: Enum.map(1..size, fn _ -> open.() end), waiting: :queue.new(), busy: %{}}}
  end

  def handle_call(:checkout, from, %{free: []} = state) do
    {:noreply, %{state | waiting: :queue.in(from, state.waiting)}}
  end

  def handle_call(:checkout, from, %{free: [worker | free]} = state) do
    {:noreply, lend(worker, from, %{state | free: free})}
  end

  def handle_info({:checkin, reference, worker}, state) do
    Process.demonitor(reference, [:flush])
    state = %{state | busy: Map.delete(state.busy, reference)}

    case :queue.out(state.waiting) do
      {{:value, from}, waiting} -> {:noreply, lend(worker, from, %{state | waiting: waiting})}
      {:empty, _} -> {:noreply, %{state | free: [worker | state.free]}}
    end
  end

  def handle_info({:DOWN, _, :process, _, reason}, _), do: exit({:caller_died, reason})
  def handle_info({:EXIT, _, reason}, _), do: exit({:worker_died, reason})

  defp lend(worker, {caller, _} = from, state) do
    reference = Process.monitor(caller)
    if state.kind == :direct, do: Port.connect(worker, caller)
    GenServer.reply(from, {reference, worker})
    %{state | busy: Map.put(state.busy, reference, worker)}
  end
end

# Owns one port; one request at a time.
defmodule PortWorker do
  use GenServer

  def start_link(open), do: GenServer.start_link(__MODULE__, open)
  def call(worker, work), do: GenServer.call(worker, {:call, work})

  def init(open), do: {:ok, {open.(), 0}}

  def handle_call({:call, work}, _, {port, number}) do
    Port.command(port, Message.request(work, number))

    receive do
      {^port, {:data, reply}} -> {:reply, Message.check(reply, number), {port, number + 1}}
    end
  end
end

defmodule Caller do
  def call(:direct, pool, work, number) do
    {reference, port} = PortPool.checkout(pool)
    Port.command(port, Message.request(work, number))

    receive do
      {^port, {:data, reply}} -> Message.check(reply, number)
    end

    Port.connect(port, pool)
    Process.unlink(port)
    PortPool.checkin(pool, reference, port)
  end

  def call(:owned, pool, work, _) do
    {reference, worker} = PortPool.checkout(pool)
    PortWorker.call(worker, work)
    PortPool.checkin(pool, reference, worker)
  end

  def measure(kind, pool, callers, calls, work) do
    tickets = :atomics.new(1, [])
    main = self()

    run = fn ->
      receive do: (:start -> :ok)
      send(main, {:done, loop(kind, pool, work, tickets, calls, [])})
    end

    processes = for _ <- 1..callers, do: spawn_link(run)
    began = System.monotonic_time()
    for process <- processes, do: send(process, :start)
    latencies = for(_ <- processes, do: receive(do: ({:done, mine} -> mine))) |> Enum.concat() |> Enum.sort()
    seconds = (System.monotonic_time() - began) / System.convert_time_unit(1, :second, :native)
    made = length(latencies)
    p50 = Enum.at(latencies, div(made, 2)) / System.convert_time_unit(1, :second, :native) * 1.0e6
    IO.puts("#{made / seconds} #{p50}")
  end

  defp loop(kind, pool, work, tickets, calls, latencies) do
    number = :atomics.add_get(tickets, 1, 1)

    if number > calls do
      latencies
    else
      began = System.monotonic_time()
      call(kind, pool, work, number)
      loop(kind, pool, work, tickets, calls, [System.monotonic_time() - began | latencies])
    end
  end
end

[kind, python, worker | sizes] = System.argv()
kind = String.to_existing_atom(kind)
open = fn -> Port.open({:spawn_executable, python}, [:binary, {:packet, 4}, args: [worker]]) end

open_one =
  case kind do
    :direct ->
      open

    :owned ->
      fn ->
        {:ok, worker} = PortWorker.start_link(open)
        worker
      end
  end

pools =
  for size <- Enum.map(sizes, &String.to_integer/1), into: %{} do
    {:ok, pool} = PortPool.start_link(kind, open_one, size)
    {size, pool}
  end

IO.puts("ready")

for line <- IO.stream(:stdio, :line) do
  [work | numbers] = line |> String.split() |> Enum.reverse()
  [calls, callers, size] = Enum.map(numbers, &String.to_integer/1)
  Caller.measure(kind, pools[size], callers, calls, Message.work(work))
end
