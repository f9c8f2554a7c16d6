/* The core protocol of a pool: who gets which worker, who gives it back, and what a death in between may not spoil.
 *
 * What is one step in the code is one d_step here: a step of the core under the pool's mutex (src/core/core.cpp,
 * duties.cpp, health.cpp), or one act of a caller (src/pool/shell.cpp, call.cpp), of the supervisor
 * (src/pool/supervisor.cpp, timers.cpp), of a worker, of time. Steps of different actors interleave freely; a
 * letter (grant, wake, refusal) arrives at any later time. README.md says what is left out.
 *
 * The numbers below bound a run; PLANT_… makes one piece wrong, which must be found.
 */
#include "core.pml"

/* --- A caller: Shell::call, try_once, take ---------------------------------------------------------------------- */

#define me _pid
#define mine waiters[me]
#define record records[AT(mine.slot, mine.generation)]
#define channel replies[AT(mine.slot, mine.generation)]
#ifdef PLANT_RECORD_BY_SLOT /* of whatever worker is in the slot now */
#define answers replies[AT(mine.slot, slots[mine.slot].generation)]
#else
#define answers channel
#endif

inline begin_call() {
  calls++;
  mine.call = me * CALLS + calls;
  order[ordered] = me; /* `since` is now: behind all others */
  ordered++
}

inline end_call() { /* 5: exactly one outcome: neither a place in the queue nor a worker is left over */
  assert(!mine.queued && mine.epoch == 0);
  i = 0;
  do
  :: order[i] == me -> break
  :: else -> i++
  od;
  do
  :: i + 1 < ordered -> order[i] = order[i + 1]; i++
  :: else -> break
  od;
  ordered--;
  order[ordered] = 0;
  mine.call = 0;
  mine.executed = 0;
  mine.refused = 0;
  mine.letter = 0;
  mine.aged = 0;
  mine.late = 0
}

active [CALLERS] proctype caller() {
  byte calls;
  byte id;    /* of the request on its channel */
  bit clean;  /* Verdict::clean */
  bit again;  /* Attempt::dispatch_again: nothing was sent, and the worker is to blame */

next:
  if /* a label may not lead into a d_step */
  :: d_step { calls < CALLS -> begin_call(); on_checkout(me) }
  :: calls == CALLS -> goto done
  fi;

wait: /* Shell::take: Parker::wait, or the own notice */
  if
  :: d_step { mine.letter -> mine.letter = 0; on_claim(me) }
     goto wait
  :: d_step { mine.refused -> end_call() }
     goto next
  :: d_step { mine.late && mine.queued -> on_abandon(me); end_call() }
     goto next
  /* Abandon is stale: the grant is on its way, and Parker::wait_final waits for it */
#ifdef PLANT_LEAKED_GRANT /* or not */
  :: d_step { mine.late && !mine.queued && !mine.refused -> end_call() }
     goto next
#endif
  :: d_step { mine.epoch != 0 && mine.late -> clean = 1 } /* nothing starts after its deadline */
  :: d_step { /* Channel::quiet: stray bytes */
       mine.epoch != 0 && !mine.late && nempty(channel) ->
       clean = 0;
       again = 1
     }
  :: d_step { mine.epoch != 0 && !mine.late && dead(mine.slot, mine.generation) -> clean = 0; again = 1 }
  :: d_step {
       /* Channel::exchange writes. It may have taken a glance only: then there may be stray bytes. */
       mine.epoch != 0 && !mine.late && !dead(mine.slot, mine.generation) ->
       printf("%d sends a request to %d.%d\n", me, mine.slot, mine.generation);
       record.last_id++;
       id = record.last_id;
       record.request = mine.call
     }
     goto read
  fi;
  goto give_back;

read: /* Channel::exchange */
  if
  :: d_step {
       nempty(answers) ->
       answers?i,j;
       printf("%d reads reply %d, which is that to %d\n", me, i, j);
       if
#ifdef PLANT_STALE_REPLY /* the id is not compared */
       :: true ->
#else
       :: i == id ->
#endif
          assert(j == mine.call); /* 6: a reply reaches its call only */
          clean = 1
#ifndef PLANT_STALE_REPLY
       :: else -> clean = 0 /* kProtocol */
#endif
       fi;
       id = 0
     }
  :: d_step { /* kExited; if it had not read the request (the socket is reset), another worker may have it */
       empty(channel) && dead(mine.slot, mine.generation) ->
       clean = 0;
       again = (record.request == mine.call && !mine.late);
       id = 0
     }
  :: d_step { empty(channel) && record.interrupted -> clean = 0; id = 0 } /* kDeadline */
  fi;

give_back:
  if
  :: d_step { again -> on_checkin(me, clean); again = 0 }
  :: d_step { !again -> on_checkin(me, clean); clean = 0; end_call() }
     goto next
  fi;
  d_step { on_checkout(me) } /* it keeps its `since` */
  goto wait;
done:
  skip
}

/* --- Time ------------------------------------------------------------------------------------------------------- */

/* Time passes for each caller; the elder ages first. */
active [CALLERS] proctype clock() {
  byte who = _pid - CALLERS;
end:
  do
  :: d_step {
       waiters[who].queued && !waiters[who].aged ->
       i = 0;
       do
       :: waiters[order[i]].queued -> waiters[order[i]].aged = 1; if :: order[i] == who -> break :: else -> i++ fi
       :: else -> i++
       od;
       skip
     }
  :: d_step { /* its time is up while it waits, or while its grant is on its way */
       expiries > 0 && !waiters[who].late && (waiters[who].queued || waiters[who].epoch != 0) ->
       waiters[who].late = 1;
       printf("the deadline of %d passes\n", who);
       expiries--
     }
  :: d_step { /* Shell::overdue_calls looks at the workers that are in their slots now */
       deaths > 0 && waiters[who].epoch != 0 && !waiters[who].late &&
         slots[waiters[who].slot].generation == waiters[who].generation ->
       waiters[who].late = 1;
       printf("the deadline of %d passes\n", who);
       records[AT(waiters[who].slot, waiters[who].generation)].interrupted = 1;
       deaths--
     }
  od
}

/* --- A slot's process, and what the supervisor does about it ------------------------------------------------------ */

#define its slots[w]
#define its_record records[AT(w, slots[w].generation)]
#define its_channel replies[AT(w, slots[w].generation)]
#define alive (slots[w].process == Loading || slots[w].process == Up)

active [WORKERS] proctype worker() {
  byte w = _pid - 2 * CALLERS;
end:
  do
  :: d_step { /* reads a request; 7: nothing is executed twice */
       its.process == Up && its.work == 0 && its_record.request != 0 ->
       printf("%d.%d reads request %d\n", w, its.generation, its_record.request);
       its.work = its_record.request;
       its.work_id = its_record.last_id;
       its_record.request = 0;
       c = (its.work - 1) / CALLS;
       if
       :: waiters[c].call == its.work ->
          assert(!waiters[c].executed);
          waiters[c].executed = 1
       :: else
       fi;
       skip
     }
  :: d_step { /* answers, perhaps when nobody waits for it any more */
       its.process == Up && its.work != 0 && nfull(its_channel) ->
       printf("%d.%d answers request %d\n", w, its.generation, its.work);
       its_channel!its.work_id,its.work;
       its.work = 0;
       its.work_id = 0
     }
  :: d_step { /* answers, and will answer again */
       its.process == Up && its.work != 0 && deaths > 0 && nfull(its_channel) ->
       printf("%d.%d answers request %d, and will again\n", w, its.generation, its.work);
       its_channel!its.work_id,its.work;
       its.babbles = 1;
       deaths--
     }
  :: d_step { /* dies unasked */
       alive && deaths > 0 ->
       printf("%d.%d dies\n", w, its.generation);
       its.process = Dead;
       its.work = 0;
       its.work_id = 0;
       deaths--
     }
  od
}

active [WORKERS] proctype supervisor() {
  byte w = _pid - 2 * CALLERS - WORKERS;
end:
  do
  :: d_step { its.state == Vacant -> on_spawn(w) }
  :: d_step { its.state == Starting && its.process == Loading -> on_ready(w) }
  :: d_step { /* Supervisor::kill */
       its.state == Stopping && alive ->
       printf("%d.%d is killed\n", w, its.generation);
       its.process = Dead;
       its.work = 0;
       its.work_id = 0
     }
  :: d_step { /* Supervisor::on_process_end: the pidfd fired */
       its.process == Dead && (its.state == Idle || its.state == Busy || its.state == Checking) ->
       on_condemn(w)
     }
  :: d_step { its.process == Dead -> on_exited(w) } /* Supervisor::on_exit: it is reaped */
  :: d_step { checks > 0 && its.state == Idle -> checks--; on_begin_check(w) }
  :: d_step { its.state == Checking && its.process == Up -> on_check_passed(w) }
  :: d_step { its.state == Checking && deaths > 0 -> deaths--; on_condemn(w) } /* it missed its check */
  od
}

/* --- The invariants, in every state ------------------------------------------------------------------------------- */

/* Caller c has been granted the worker in slot w, and has not given it back. */
#define owns(c, w) (waiters[c].epoch != 0 && waiters[c].slot == w && waiters[c].generation == slots[w].generation)
#define in_row(w) (slots[w].state != Vacant)
#define wrong_hold(c, w) (owns(c, w) && in_row(w) && slots[w].epoch != waiters[c].epoch)
#define pending(w) \
  (slots[w].work != 0 || nempty(replies[AT(w, slots[w].generation)]) || \
   (records[AT(w, slots[w].generation)].request != 0 && !dead(w, slots[w].generation)))
#define unclean(w) (slots[w].state == Idle && (slots[w].epoch != 0 || (!slots[w].babbles && pending(w))))
#define asleep(c) (waiters[c].queued && !waiters[c].woken && !waiters[c].late)
#define awake(c) (waiters[c].queued && waiters[c].woken)
#define owned_and_idle(c, w) (owns(c, w) && slots[w].state == Idle)

#if WORKERS == 1
#define SOME_WORKER(broken) (broken(0))
#define SOME_PAIR(broken) (SOME_CALLER(broken, 0))
#define OWNED_TWICE (OWNERS(0) > 1)
#define BUSY_UNOWNED (slots[0].state == Busy && OWNERS(0) == 0)
#else
#define SOME_WORKER(broken) (broken(0) || broken(1))
#define SOME_PAIR(broken) (SOME_CALLER(broken, 0) || SOME_CALLER(broken, 1))
#define OWNED_TWICE (OWNERS(0) > 1 || OWNERS(1) > 1)
#define BUSY_UNOWNED ((slots[0].state == Busy && OWNERS(0) == 0) || (slots[1].state == Busy && OWNERS(1) == 0))
#endif
#if CALLERS == 2
#define SOME_CALLER(broken, w) (broken(0, w) || broken(1, w))
#define OWNERS(w) (owns(0, w) + owns(1, w))
#define ASLEEP (asleep(0) + asleep(1))
#define AWAKE (awake(0) + awake(1))
#else
#define SOME_CALLER(broken, w) (broken(0, w) || broken(1, w) || broken(2, w))
#define OWNERS(w) (owns(0, w) + owns(1, w) + owns(2, w))
#define ASLEEP (asleep(0) + asleep(1) + asleep(2))
#define AWAKE (awake(0) + awake(1) + awake(2))
#endif

active proctype monitor() {
end:
  if
  :: d_step { OWNED_TWICE -> printf("invariant 1: a worker has two owners\n"); assert(false) }
  :: d_step { SOME_PAIR(wrong_hold) -> printf("invariant 1: the owner's epoch is not the row's\n"); assert(false) }
  :: d_step { SOME_PAIR(owned_and_idle) || SOME_WORKER(unclean) ->
              printf("invariant 2: an idle worker is owned, or has unfinished business\n"); assert(false) }
  :: d_step { BUSY_UNOWNED -> printf("invariant 3: a busy worker is nobody's\n"); assert(false) }
  :: d_step { ASLEEP > 0 && idles > AWAKE ->
              printf("invariant 4: a worker is free while a waiter sleeps unwoken\n"); assert(false) }
  fi
}
