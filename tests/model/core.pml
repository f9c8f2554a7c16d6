/* The core's part of the model: its data, its inner pieces, its events. pool.pml has those who step it.
 */
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef CALLERS
#define CALLERS 2
#endif
#ifndef CALLS /* of each caller */
#define CALLS 2
#endif
#ifndef DEATHS /* crashes, missed deadlines, stray replies, missed checks: whatever costs a worker its life */
#define DEATHS 2
#endif
#ifndef EXPIRIES /* calls whose time is up before they have a worker; the others wait for as long as it takes */
#define EXPIRIES 1
#endif
#ifndef CHECKS /* pings to idle workers */
#define CHECKS 0
#endif

#define GENERATIONS (DEATHS + 1)
#define AT(w, g) ((w) * GENERATIONS + (g) - 1) /* a worker by (slot, generation) */

mtype = { Vacant, Starting, Idle, Busy, Checking, Stopping }; /* SlotState, and WorkerState of its row */
mtype = { Nothing, Loading, Up, Dead };                       /* a slot's process; dead: not yet reaped */

/* Core::Slot and its Row, and the worker's process. */
typedef Slot {
  mtype state = Vacant;
  byte generation;
  byte epoch; /* Row::holds, of one permit: the hold's epoch; 0: nobody's. Among the holds that are out, it is unique:
                 here the caller's number does for that. */
  mtype process = Nothing;
  byte work;    /* the call that the process is busy with */
  byte work_id; /* and its number on the channel */
  bit babbles;  /* it answers once more than it was asked */
};
Slot slots[WORKERS];

/* pool::Record, by (slot, generation): it outlives the row while somebody holds it. */
typedef Record {
  byte lingering; /* Core::lingering_: the epoch of a hold on a dead worker */
  byte last_id;   /* Channel::last_id_ */
  byte request;   /* in the socket, and not read by the worker */
  bit interrupted;
};
Record records[WORKERS * GENERATIONS];
chan replies[WORKERS * GENERATIONS] = [DEATHS + 1] of { byte, byte }; /* id on the channel; whose it really is */

/* core::Waiter, Parker and pool::Hold of each caller's call. */
typedef Waiter {
  bit queued;
  bit woken;  /* Waiter::woken: it was told, and has not answered */
  bit letter; /* that wake, on its way */
  bit refused;
  bit aged; /* it has waited for barging_window */
  bit late; /* its deadline has passed */
  bit executed; /* a worker has read its request */
  byte call; /* its number; 0: none */
  byte slot;
  byte generation;
  byte epoch; /* the grant, from the moment that the core gives it; 0: none */
};
Waiter waiters[CALLERS];
byte order[CALLERS]; /* the callers with a call, by its `since`; WaitQueue is those of them that are queued */
byte ordered;

byte idle[WORKERS]; /* Core::idle_, a stack */
byte idles;
byte deaths = DEATHS;
byte expiries = EXPIRIES;
byte checks = CHECKS;

hidden byte i, j, q, s, g, c, budget; /* of one step */
hidden byte in_turn;

#define dead(w, g) \
  (slots[w].generation != g || slots[w].process == Dead || slots[w].process == Nothing)

/* --- The core's inner pieces ------------------------------------------------------------------------------------ */

inline push_idle(w) {
  idle[idles] = w;
  idles++
}

inline leave_idle(w) { /* Core::move, from kIdle */
  i = 0;
  do
  :: idle[i] == w -> break
  :: else -> i++; assert(i < idles)
  od;
  do
  :: i + 1 < idles -> idle[i] = idle[i + 1]; i++
  :: else -> break
  od;
  idles--;
  idle[idles] = 0
}

inline grant(c, w) { /* Core::grant; Shell::sort takes the record in the same moment */
  printf("    grant %d.%d to %d\n", w, slots[w].generation, c);
  assert(slots[w].state == Idle && slots[w].epoch == 0);
  waiters[c].queued = 0;
  waiters[c].woken = 0;
  waiters[c].slot = w;
  waiters[c].generation = slots[w].generation;
  waiters[c].epoch = c + 1;
#ifdef PLANT_TWO_OWNERS /* the worker stays on the idle stack */
#else
  slots[w].epoch = c + 1;
  leave_idle(w);
  slots[w].state = Busy
#endif
}

inline serve() { /* Core::serve: pick() is the top of the idle stack */
  budget = idles;
  j = 0;
  do
  :: j < ordered && budget > 0 ->
     q = order[j];
     if
     :: !waiters[q].queued -> skip
     :: waiters[q].queued && waiters[q].late ->
        waiters[q].queued = 0;
        waiters[q].woken = 0;
        waiters[q].refused = 1 /* kExpired */
     :: waiters[q].queued && !waiters[q].late && waiters[q].aged ->
        s = idle[idles - 1];
        grant(q, s);
        budget--
     :: waiters[q].queued && !waiters[q].late && !waiters[q].aged ->
        if
        :: !waiters[q].woken ->
           waiters[q].woken = 1;
#ifndef PLANT_STRANDED_WAITER /* the wake is never delivered */
           waiters[q].letter = 1
#endif
        :: else
        fi;
        budget--
     fi;
     j++
  :: else -> break
  od
}

inline pick_in_turn(c) { /* Core::pick_in_turn: not past an elder whose turn it is */
  in_turn = (idles > 0);
  j = 0;
  do
  :: j < ordered ->
     q = order[j];
     if
     :: !waiters[q].queued -> skip
     :: waiters[q].queued && (q == c || !waiters[q].aged) -> break
     :: waiters[q].queued && q != c && waiters[q].aged ->
        if
        :: !waiters[q].late && waiters[q].woken -> in_turn = false
        :: else
        fi
     fi;
     j++
  :: else -> break
  od
}

inline end_worker(w) { /* Core::end: what is condemned never becomes idle again */
  assert(slots[w].state == Idle || slots[w].state == Busy || slots[w].state == Checking);
  if
  :: slots[w].state == Idle -> leave_idle(w)
  :: else
  fi;
  slots[w].state = Stopping /* and the effect Kill; it is carried out at any later time */
}

inline forget(w, gen) { /* the effect Forget: reaped, and no hold is out: its descriptors are closed */
  do
  :: nempty(replies[AT(w, gen)]) -> replies[AT(w, gen)]?_,_
  :: empty(replies[AT(w, gen)]) -> break
  od;
  records[AT(w, gen)].last_id = 0;
  records[AT(w, gen)].request = 0;
  records[AT(w, gen)].interrupted = 0
}

/* --- The core's events: callers --------------------------------------------------------------------------------- */

inline on_checkout(c) {
  printf("Checkout by %d\n", c);
  pick_in_turn(c);
  waiters[c].letter = 0; /* Parker::post drops what was meant for an older token */
  if
  :: in_turn -> s = idle[idles - 1]; grant(c, s)
  :: else ->
     waiters[c].queued = 1;
     serve()
  fi;
  skip
}

inline on_claim(c) { /* Core::on(Claim): stale, if it was granted or refused meanwhile */
  printf("Claim by %d\n", c);
  if
  :: waiters[c].queued ->
     pick_in_turn(c);
     waiters[c].woken = 0;
     if
     :: in_turn -> s = idle[idles - 1]; grant(c, s)
     :: else
     fi;
     serve()
  :: else
  fi;
  skip /* the end of a d_step may not be a jump */
}

inline on_abandon(c) { /* Core::on(Abandon) */
  printf("Abandon by %d\n", c);
  waiters[c].queued = 0;
  waiters[c].woken = 0;
#ifndef PLANT_LOST_WAKE
  serve();
#endif
  skip
}

inline on_checkin(c, is_clean) { /* Shell::give_back, Core::on(Checkin), Core::give_back */
  printf("Checkin by %d of %d.%d\n", c, waiters[c].slot, waiters[c].generation);
  s = waiters[c].slot;
  g = waiters[c].generation;
  if
#ifdef PLANT_CHECKIN_BY_SLOT /* whatever generation, whatever epoch */
  :: slots[s].state != Vacant ->
#else
  :: slots[s].state != Vacant && slots[s].generation == g ->
     assert(slots[s].epoch == waiters[c].epoch);
#endif
     slots[s].epoch = 0;
     if
     :: slots[s].state != Busy -> skip /* it is already being ended */
#ifdef PLANT_DIRTY_RETURN
     :: slots[s].state == Busy && (!(is_clean) && false) ->
#else
     :: slots[s].state == Busy &&
        (!(is_clean) || records[AT(s, g)].interrupted) ->
#endif
        end_worker(s)
     :: else ->
#ifndef PLANT_LOST_WORKER /* it stays busy */
        slots[s].state = Idle;
        push_idle(s);
#endif
        serve()
     fi
  :: else -> /* its row is dead: the slot may have a new worker by now, which is none of this hold's business */
#ifndef PLANT_CHECKIN_BY_SLOT
     assert(records[AT(s, g)].lingering == waiters[c].epoch);
#endif
     records[AT(s, g)].lingering = 0;
     forget(s, g)
  fi;
  waiters[c].epoch = 0;
  waiters[c].slot = 0;
  waiters[c].generation = 0
}

/* --- The core's events: workers --------------------------------------------------------------------------------- */

inline on_spawn(w) { /* Core::start and the effect Spawn: at any time after the death, for there may be a backoff */
  printf("Spawn in %d\n", w);
  slots[w].generation++;
  assert(slots[w].generation <= GENERATIONS);
  slots[w].state = Starting;
  slots[w].process = Loading
}

inline on_ready(w) {
  printf("Ready: %d.%d\n", w, slots[w].generation);
  slots[w].state = Idle;
  slots[w].process = Up;
  push_idle(w);
  serve();
  skip
}

inline on_condemn(w) {
  printf("Condemn %d.%d\n", w, slots[w].generation);
  end_worker(w)
}

inline on_exited(w) { /* Core::bury */
  printf("Exited: %d.%d\n", w, slots[w].generation);
  if
  :: slots[w].state == Idle -> leave_idle(w)
  :: else
  fi;
  slots[w].state = Vacant;
  slots[w].process = Nothing;
  slots[w].babbles = 0;
  g = slots[w].generation;
  if
  :: slots[w].epoch != 0 -> records[AT(w, g)].lingering = slots[w].epoch
  :: else -> forget(w, g)
  fi;
  slots[w].epoch = 0
}

inline on_begin_check(w) {
  leave_idle(w);
  slots[w].state = Checking
}

inline on_check_passed(w) {
  slots[w].state = Idle;
  push_idle(w);
  serve();
  skip
}
