# A host that knows nothing of Lair: an Erlang port with {:packet, 4} to `python3 -m lair_worker MODULE`.
#
#   elixir port_host.exs PYTHON MODULE
#
# Each line of stdin is a request in JSON; what the worker answers is printed as a line, in order. "wait" waits for the
# worker's end instead, "close" closes the port.

defmodule PortHost do
  @patience 30_000

  def open(python, module) do
    options = [:binary, :exit_status, packet: 4, args: ["-m", "lair_worker", module]]
    port = Port.open({:spawn_executable, python}, options)
    {:os_pid, pid} = Port.info(port, :os_pid)
    say("pid #{pid}")
    port
  end

  def obey("wait", port) do
    receive do
      {^port, {:exit_status, status}} -> say("exit_status #{status}")
      {^port, {:data, reply}} -> say("unexpected " <> reply)
    after
      @patience -> say("still running")
    end
  end

  def obey("close", port) do
    Port.close(port)
    say("closed")
  end

  def obey(request, port) do
    Port.command(port, request)

    receive do
      {^port, {:data, reply}} -> say(reply)
      {^port, {:exit_status, status}} -> say("exit_status #{status}")
    after
      @patience -> say("no reply")
    end
  end

  defp say(line), do: IO.binwrite([line, "\n"])
end

# Lines are bytes, whatever the locale: the JSON in them is between pytest and the worker.
:ok = :io.setopts(:standard_io, encoding: :latin1)
[python, module] = System.argv()
port = PortHost.open(python, module)
for line <- IO.binstream(:stdio, :line), do: PortHost.obey(String.trim(line), port)
