/*
 * The lock between processes: word, FIFO of each process, kernel queue, death, watch.
 * README.md lists the invariants (E, W, A, F) that are checked here and what is left out.
 *
 * Configuration, by -D:
 *   GOS0 GOS1 GOS2   goroutines of each process (GOS1, GOS2 may be 0)
 *   ROUNDS           how often each goroutine locks; FOREVER: without end
 *   KILLS            processes killed, each at any step
 *   TICKS            the watch runs (needed by KILLS)
 *   TIMEOUTS         every sleep may end by itself, in the kernel and on a channel
 *   GIVEUP           mask of the goroutines that lock by LockContext: each wait may be cancelled
 *   TRY              a round may be a TryLock
 *   ABANDON          holders may ask Abandoned, and may panic
 *   FAIR             `starve` and the starving queue are real bits, not a free choice
 *   VICTIM           goroutine that must get the lock again and again, for a search of non-progress cycles
 *   DRAIN            a head drains its channel after it has set L, as the design has it
 *   MUT_x            leaves a rule out; `mutations` demands that the model then fails
 */

#ifndef GOS0
#define GOS0 1
#endif
#ifndef GOS1
#define GOS1 1
#endif
#ifndef GOS2
#define GOS2 0
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef HANDOVERS
#define HANDOVERS 1		/* the code allows 8; the number is not what makes it right */
#endif

#define PROCS	3
#define GOS	(GOS0 + GOS1 + GOS2)
#define BIT(i)	(1 << (i))

/* The word: owner's id (0: free), L, W. Process p has id p+1. */
#define W	1
#define L	2
#define ID(w)	((w) >> 2)
#define MYID	(p + 1)
#define MINE	(MYID << 2)

byte word;
bool abandoned;
bool starve;			/* somebody has waited too long: reserve the lock at unlock */

/* One per process: what its Mutex object holds, in memory that dies with it. */
chan fifo[PROCS] = [3] of { byte };	/* waiting goroutines; the head alone competes */
byte streak[PROCS];		/* hand-overs in a row */
byte known[PROCS];		/* ids known to be dead */
byte asked;			/* bit p: this hold asked Abandoned and was told yes */
byte starving;			/* bit p: the queue of p is starving */

/* One per goroutine, a bit each. */
byte token;			/* its channel holds a token */
byte granted;			/* it was handed the lock */

/* The kernel. Only the head of a FIFO sleeps there, so a bit per process will do. */
byte asleep;			/* bit p: in FUTEX_WAIT; a dead process's bit may stay for a while */
byte owner[PROCS];		/* the owner that the sleeper registered with the watch */
byte dead;			/* bit id: dead, and its lease free */

/* Ghosts: no code reads them. */
byte holder;			/* id of the process whose goroutine is inside, 0: nobody */
bool owed;			/* somebody died or panicked inside, and nobody who was told has unlocked */
bool reason;			/* there was a death or a panic since `abandoned` was last cleared */
byte woken;			/* bit p: its head was woken by a release and has not passed it on */
byte releasing[PROCS];		/* goroutines of p between the releasing CAS and the last wake */
bool lossy;			/* a death fell into one of the windows that may lose a wake-up */

/* A hand-over needs a starving queue, and while W is set their number in a row is bounded. */
#ifdef FAIR
#define STARVING	(starving & BIT(p))
#else
#define STARVING	true
#endif
#ifdef MUT_ENDLESS_HANDOVER
#define IN_TURN		true
#else
#define IN_TURN		(!(word & W) || streak[p] < HANDOVERS)
#endif
#define MAY_HAND_OVER	(ID(word) == MYID && (word & L) && len(fifo[p]) > 0 && STARVING && IN_TURN)

/* A reservation is for who has been through the kernel. */
#ifdef MUT_PARKED_TAKES_RESERVATION
#define MAY_TAKE	(slept || parked)
#else
#define MAY_TAKE	slept
#endif

#ifdef GIVEUP
#define CANCELLED	((GIVEUP) & BIT(g))
#endif

#define DEAD(i)	(dead & BIT(i))

#ifdef FAIR
/* FUTEX_WAKE(1) in the kernel's order: first come, first woken. */
chan kernelQueue = [PROCS] of { byte };
#define ENTER	kernelQueue!p
#define LEAVE	kernelQueue??eval(p)

inline futexWake()
{
	atomic {
		if
		:: len(kernelQueue) > 0 -> kernelQueue?h; asleep = asleep & ~BIT(h); h = 0
		:: len(kernelQueue) == 0 -> none = true
		fi
	}
}
#else
#define ENTER	skip
#define LEAVE	skip

/* FUTEX_WAKE(1): any sleeper, one that is just dying included. */
inline futexWake()
{
	atomic {
		if
		:: asleep & BIT(0) -> asleep = asleep & ~BIT(0);
			if :: DEAD(1) -> lossy = true :: else -> woken = woken | BIT(0) fi
		:: asleep & BIT(1) -> asleep = asleep & ~BIT(1);
			if :: DEAD(2) -> lossy = true :: else -> woken = woken | BIT(1) fi
		:: asleep & BIT(2) -> asleep = asleep & ~BIT(2);
			if :: DEAD(3) -> lossy = true :: else -> woken = woken | BIT(2) fi
		:: asleep == 0 -> none = true
		fi
	}
}
#endif

/* A release's wake-up. A reservation for which it finds nobody is dropped, and whoever went to sleep on it
 * meanwhile is woken. */
inline wakeKernel()
{
	futexWake();
	if
	:: none -> none = false;
		if
		:: atomic { word == W -> word = 0; releasing[p]++ };
#ifndef MUT_DROP_QUIETLY
			futexWake(); none = false;
#endif
			releasing[p]--
		:: atomic { word != W }
		fi
	:: else
	fi
}

#if defined(MUT_WAKE_LOCAL_ONLY)
#define WAKE_KERNEL	!(w & L)
#define WAKE_LOCAL	true
#elif defined(MUT_WAKE_KERNEL_ONLY)
#define WAKE_KERNEL	true
#define WAKE_LOCAL	!(w & W)
#else
#define WAKE_KERNEL	true
#define WAKE_LOCAL	true
#endif
#ifdef FAIR
#define APART	false	/* the wake-up is part of the release's step */
#else
#define APART	true
#endif

/* A token for the head of p's FIFO; the caller holds the process's own mutex (is inside atomic). */
inline wakeHead()
{
	if
	:: fifo[p]?[h] -> fifo[p]?<h>; token = token | BIT(h); h = 0
	:: else
	fi
}

/* What the kernel does for a sleeper whose word is still w. */
#define QUEUE_UP \
	ENTER; asleep = asleep | BIT(p); owner[p] = ID(w); woken = woken & ~BIT(p); slept = true

proctype goroutine(byte p; byte g)
{
	byte w;			/* the word as last seen */
	byte h;			/* scratch */
	byte left = ROUNDS;
	bool queued;		/* in the FIFO */
	bool head;		/* has seen that it is the first there */
	bool none;		/* FUTEX_WAKE woke nobody */
#ifdef MUT_PARKED_TAKES_RESERVATION
	bool parked;		/* has waited in Go */
#endif
	bool slept;		/* in the kernel: may have used up a wake that others need, so leaves W wherever it goes */
	bool verb;		/* this hold is a verb of the library: its unlock clears nothing */
	bool told;		/* ghost: Abandoned answered yes in this hold, and no panic since */
{
	skip;
Next:
	atomic { queued = false; head = false; none = false; slept = false; verb = false; told = false; w = 0; h = 0 };
	if
#ifdef FOREVER
	:: true
#else
	:: left == 0 -> goto Done
	:: left > 0 -> left--
#ifdef TRY
	:: left > 0 -> left--; goto TryLock
#endif
#endif
	fi;

	/* Lock, the fast path */
	if
	:: atomic { word == 0 -> word = MINE }; goto Acquired
	:: atomic { else }
	fi;

LockSlow:
	w = word;
#if KILLS || defined(MUT_ERROR_IS_DEATH)
	/* The probe. It may not take place (`probed` is young or lost), and an error means alive. */
	if
#ifdef MUT_ERROR_IS_DEATH
	:: ID(w) && ID(w) != MYID -> goto Takeover
#else
	:: ID(w) && ID(w) != MYID && DEAD(ID(w)) -> goto Takeover
#endif
	:: true
#ifdef MUT_PROBE_AFTER_CAS
	:: ID(w) && ID(w) != MYID -> goto TakeFirst
#endif
	fi;
#endif

Join:
	atomic { fifo[p]!g; queued = true };
	if
	:: atomic { fifo[p]?[eval(g)] -> head = true }; goto Look
	:: atomic { else }; goto Park
	fi;

Look:	/* the head: one look at the word and the CAS that follows from it */
	skip;
	if
	:: atomic { word == 0 ->
#ifdef MUT_FORGET_W
		word = MINE };
#else
		word = MINE | (slept -> W : 0) };
#endif
		goto Got
#ifdef MUT_ARRIVAL_TAKES_RESERVATION
	:: atomic { word == W -> word = MINE | W }; goto Got
#elif defined(MUT_RESERVATION_DROPS_W)
	:: atomic { word == W && MAY_TAKE -> word = MINE }; goto Got
#else
	:: atomic { word == W && MAY_TAKE -> word = MINE | W }; goto Got
	:: atomic { word == W && !(MAY_TAKE) -> w = word }; goto Sleep
#endif
	:: atomic { ID(word) == MYID ->
#ifdef FAIR
#ifndef MUT_HEAD_MARKS_NOTHING
		starving = starving | BIT(p);
#endif
#endif
#ifdef MUT_PARKS_WITHOUT_W
		word = word | L };
#else
		word = word | L | (slept -> W : 0); if :: slept -> woken = woken & ~BIT(p) :: else fi };
#endif
		goto Relook
	:: atomic { ID(word) && ID(word) != MYID && DEAD(ID(word)) -> w = word }; goto Takeover	/* probed, or known */
	:: atomic { ID(word) && ID(word) != MYID && !(known[p] & BIT(ID(word))) ->
#ifdef FAIR
		starve = true; word = word | W; w = word; QUEUE_UP }; goto Asleep
#else
		word = word | W; w = word }; goto Sleep
#endif
#ifdef GIVEUP
	:: CANCELLED -> goto GiveUp
#endif
	fi;

Relook:
#if defined(DRAIN) || defined(MUT_NO_RELOOK) || defined(MUT_RELOOK_AT_WORD_ONLY)
	/* The token that goes may have been stale, the answer to our L, or a hand-over: look at word and grant. */
	token = token & ~BIT(g);
	if
#ifdef MUT_NO_RELOOK
	:: true
#elif defined(MUT_RELOOK_AT_WORD_ONLY)
	:: atomic { ID(word) == MYID && (word & L) }
	:: atomic { else }; goto Look
#else
	:: atomic { granted & BIT(g) -> granted = granted & ~BIT(g); queued = false }; goto Granted
	:: atomic { !(granted & BIT(g)) && ID(word) == MYID && (word & L) }
	:: atomic { else }; goto Look
#endif
	fi;
#endif

Park:	/* on the goroutine's own channel */
	if
	:: atomic { token & BIT(g) -> token = token & ~BIT(g) }
#ifdef TIMEOUTS
	:: true
#endif
#ifdef GIVEUP
	:: CANCELLED -> goto GiveUp
#endif
	fi;
	if
	:: atomic { granted & BIT(g) -> granted = granted & ~BIT(g); queued = false };
		goto Granted
	:: atomic { !(granted & BIT(g)) && fifo[p]?[eval(g)] ->
#ifdef MUT_PARKED_TAKES_RESERVATION
		parked = head;
#endif
		head = true }; goto Look
	:: atomic { !(granted & BIT(g)) && !fifo[p]?[eval(g)] }; goto Park
	fi;

Granted: /* the word stays as it is; a head that has slept put W there before it parked */
	goto Acquired;

Sleep:	/* FUTEX_WAIT compares the word and queues the sleeper in one step */
#ifdef MUT_SLEEP_BLIND
	atomic { QUEUE_UP };
#else
	if
	:: atomic { word == w -> QUEUE_UP }
	:: atomic { word != w -> slept = true }; goto Look
	fi;
#endif
Asleep:
	if
	:: atomic { !(asleep & BIT(p)) -> owner[p] = 0 }; goto Look
	/* A sleep on a reservation is short: it may turn out to be for nobody if there are deaths. */
	:: atomic { lossy && (asleep & BIT(p)) && w == W && word == W -> LEAVE; asleep = asleep & ~BIT(p); owner[p] = 0 }; goto Look
#ifdef TIMEOUTS
	:: atomic { asleep & BIT(p) -> LEAVE; asleep = asleep & ~BIT(p); owner[p] = 0 }; goto Look
#endif
#ifdef GIVEUP
	:: atomic { CANCELLED && (asleep & BIT(p)) -> LEAVE; asleep = asleep & ~BIT(p); owner[p] = 0 }; goto GiveUp
#endif
	fi;

#ifdef MUT_PROBE_AFTER_CAS
TakeFirst:
	if
	:: atomic { word == w -> word = MINE | W }
	:: atomic { else }; goto Join
	fi;
	if
	:: DEAD(ID(w)) -> atomic { abandoned = true; reason = true }; goto Acquired
	:: else -> word = w; goto Join
	fi;
#endif

Takeover: /* from the very word that was seen before the probe */
#ifdef MUT_FRESH_LOAD
	w = word;
	if :: ID(w) == 0 || ID(w) == MYID -> if :: queued -> goto Look :: else -> goto Join fi :: else fi;
#endif
	if
	:: atomic { word == w -> assert(DEAD(ID(w)));			/* E2 */
#ifdef MUT_TAKEOVER_FORGETS_W
		word = MINE }
#else
		word = MINE | W }
#endif
	:: atomic { word != w && queued }; goto Look
	:: atomic { word != w && !queued }; goto Join
	fi;
	atomic { abandoned = true; reason = true };
#ifndef MUT_ARRIVAL_SETS_L
	/* One who comes by leaves L alone: the head may sleep in the kernel, where no hand-over reaches it. */
	if :: queued :: else -> goto Acquired fi;
#endif

Got:	/* leave the FIFO; who is queued behind must be woken by our unlock */
	atomic {
		if :: slept -> woken = woken & ~BIT(p) :: else fi;
#ifdef MUT_TAKER_CLEARS_STARVE
		if :: slept -> starve = false :: else fi;
#endif
		if :: queued -> fifo[p]?eval(g); queued = false :: else fi
	};
#ifndef MUT_NO_L_ON_LEAVE
	atomic { if :: len(fifo[p]) > 0 -> word = word | L :: else fi };
#endif

Acquired:
	atomic {
#ifndef MUT_ASKED_SURVIVES
		asked = asked & ~BIT(p);
#endif
		assert(holder == 0);				/* E1 */
		assert(!owed || abandoned);			/* A1 */
		assert(!abandoned || reason);			/* A3 */
		holder = MYID
	};
#ifdef VICTIM
	if
	:: g == VICTIM ->
progress:	skip						/* F1, F2 */
	:: else
	fi;
#endif

#ifdef ABANDON
	if :: verb = true :: true fi;
	if
	:: atomic { abandoned -> asked = asked | BIT(p); told = true }
	:: true
	fi;
	if
	:: atomic { true -> abandoned = true; reason = true; owed = true; told = false;
#ifndef MUT_PANIC_KEEPS_ASKED
		asked = asked & ~BIT(p)
#endif
		}
	:: true
	fi;
#endif
	atomic { holder = 0; if :: told && !verb -> owed = false :: else fi; told = false };

Unlock:
#ifndef MUT_CLEAR_AFTER_CAS
	if
#ifdef MUT_CLEAR_UNASKED
	:: atomic { abandoned && !verb -> abandoned = false; reason = false; asked = asked & ~BIT(p) }
#else
	:: atomic { (asked & BIT(p)) && !verb -> abandoned = false; reason = false; asked = asked & ~BIT(p) }
#endif
	:: atomic { else }
	fi;
#endif

#ifdef MUT_STORE_UNLOCK
	w = word;
#endif
	if
	/* A hand-over: the word stays, the head holds */
	:: atomic { MAY_HAND_OVER -> fifo[p]?h; granted = granted | BIT(h); token = token | BIT(h); h = 0;
#ifndef MUT_ENDLESS_HANDOVER
		if :: streak[p] < HANDOVERS -> streak[p]++ :: else fi;
#endif
		if :: len(fifo[p]) == 0 -> starving = starving & ~BIT(p) :: else fi }; goto Next
	/* A release: to 0, or to W alone if somebody has waited too long */
	:: atomic {
#ifdef FAIR
		!(MAY_HAND_OVER) ->
#endif
		assert(ID(word) == MYID);			/* E3 */
#ifndef MUT_STORE_UNLOCK
		w = word;
#endif
		streak[p] = 0;
		if
#ifdef FAIR
		:: (w & W) && starve -> word = W;
#ifndef MUT_TAKER_CLEARS_STARVE
			starve = false
#endif
		:: !((w & W) && starve) -> word = 0
#else
		:: (w & W) -> word = W		/* starve is a free choice */
		:: word = 0
#endif
		fi;
#ifdef FAIR
		if :: w & W -> wakeKernel() :: else fi }
#else
		if :: (w & W) && WAKE_KERNEL -> releasing[p]++ :: else fi }
#endif
	fi;
#ifdef MUT_CLEAR_AFTER_CAS
	if
	:: atomic { (asked & BIT(p)) && !verb -> abandoned = false; reason = false; asked = asked & ~BIT(p) }
	:: atomic { else }
	fi;
#endif

	/* Both wakes, each on its own */
	if
	:: (w & W) && WAKE_KERNEL && APART -> wakeKernel(); releasing[p]--
	:: else
	fi;
	if :: (w & L) && WAKE_LOCAL -> atomic { wakeHead() } :: else fi;
	goto Next;

#ifdef TRY
TryLock:
	if
	:: atomic { word == 0 -> word = MINE }; goto Acquired
	:: atomic { word == W -> word = MINE | W }; goto Acquired	/* an expired reservation */
	:: atomic { ID(word) != 0 -> w = word }
	fi;
#if KILLS
	if
	:: ID(w) != MYID && DEAD(ID(w))
	:: true -> goto Next
	fi;
	if
	:: atomic { word == w -> assert(DEAD(ID(w))); word = MINE | W }
	:: atomic { else }; goto Next
	fi;
	atomic { abandoned = true; reason = true };
	goto Acquired;
#endif
	goto Next;
#endif

#ifdef GIVEUP
GiveUp:
	if
#ifndef MUT_GRANT_TO_CANCELLED
	:: atomic { granted & BIT(g) -> granted = granted & ~BIT(g); token = token & ~BIT(g); queued = false };
		/* granted all the same: keep the lock, or give it back */
		goto Granted
	:: atomic { granted & BIT(g) -> granted = granted & ~BIT(g); token = token & ~BIT(g); queued = false;
		asked = asked & ~BIT(p); if :: slept -> word = word | W :: else fi };
		goto Unlock
#endif
	:: atomic {
#ifndef MUT_GRANT_TO_CANCELLED
		!(granted & BIT(g)) ->
#endif
		token = token & ~BIT(g); granted = granted & ~BIT(g); queued = false;
		if
		:: fifo[p]?[eval(g)] -> fifo[p]?eval(g);
#ifndef MUT_NO_SIBLING
			wakeHead()
#endif
		:: !fifo[p]?[eval(g)] && fifo[p]??[eval(g)] -> fifo[p]??eval(g)
		:: else
		fi }
	fi;
#ifndef MUT_GIVEUP_KEEPS_WAKE
	/* It may have used up the wake of a release: pass it on */
	if :: slept -> wakeKernel(); atomic { woken = woken & ~BIT(p) } :: else fi;
#endif
	goto Next;
#endif

Done:	skip
}
#if KILLS
	unless { atomic { DEAD(MYID) -> w = 0; h = 0; left = 0; queued = false; head = false; none = false; slept = false; verb = false; told = false } }
#endif
}

#ifdef TICKS
/* The watch of process p. A tick on a word that no dead process owns must not be needed, but for the cases that
 * the design names: so it is allowed only when `lossy` (W2). With TIMED there is no watch, but the time of a
 * sleep ends. */
proctype watch(byte p)
{
	bool none;
#ifdef FAIR
	byte h;
#endif
{
end:	do
#ifdef TIMED
	:: atomic { (asleep & BIT(p)) && ID(word) && DEAD(ID(word)) -> asleep = asleep & ~BIT(p) }
#ifndef MUT_TIMED_LEAVES_FREE
	:: atomic { (asleep & BIT(p)) && lossy && ID(word) == 0 -> asleep = asleep & ~BIT(p) }
#endif
	:: atomic { (asleep & BIT(p)) && lossy && ID(word) && !(word & W) -> asleep = asleep & ~BIT(p) }
#else
	:: atomic { (asleep & BIT(p)) && ID(word) && DEAD(ID(word)) && ID(word) == owner[p] ->
		known[p] = known[p] | BIT(owner[p]); asleep = asleep & ~BIT(p) }
#ifndef MUT_WATCH_OLD_OWNER
	/* The word has another owner, for which there is no watch. */
	:: atomic { (asleep & BIT(p)) && ID(word) && DEAD(ID(word)) && ID(word) != owner[p] -> asleep = asleep & ~BIT(p) }
#endif
	/* Whoever should have left W, or woken a sleeper, may be dead. */
	:: atomic { (asleep & BIT(p)) && lossy && ID(word) == owner[p] && !(word & W) -> word = word | W }
#ifndef MUT_WATCH_LEAVES_FREE
	:: atomic { (asleep & BIT(p)) && lossy && ID(word) == 0 -> futexWake(); none = false }
#endif
	:: atomic { (asleep & BIT(p)) && lossy && ID(word) && ID(word) != owner[p] -> asleep = asleep & ~BIT(p) }
#endif
	od
}	unless { DEAD(MYID) }
}
#endif

#if KILLS
inline kill(q)
{
	dead = dead | BIT(q + 1);
	if :: holder == q + 1 -> holder = 0; owed = true :: else fi;
	if :: (woken & BIT(q)) || releasing[q] -> lossy = true :: else fi;
	woken = woken & ~BIT(q); asked = asked & ~BIT(q); starving = starving & ~BIT(q);
	releasing[q] = 0; streak[q] = 0; known[q] = 0; owner[q] = 0;
	do :: fifo[q]?_ :: len(fifo[q]) == 0 -> break od
}

proctype killer()
{
	byte left = KILLS;
end:	do
	:: atomic { left > 0 && !DEAD(1) -> left--; kill(0) }
#if GOS1
	:: atomic { left > 0 && !DEAD(2) -> left--; kill(1) }
#endif
#if GOS2
	:: atomic { left > 0 && !DEAD(3) -> left--; kill(2) }
#endif
	od
}
#endif

init
{
	atomic {
		run goroutine(0, 0);
#if GOS0 > 1
		run goroutine(0, 1);
#endif
#if GOS0 > 2
		run goroutine(0, 2);
#endif
#if GOS1 > 0
		run goroutine(1, GOS0);
#endif
#if GOS1 > 1
		run goroutine(1, GOS0 + 1);
#endif
#if GOS2 > 0
		run goroutine(2, GOS0 + GOS1);
#endif
#if GOS2 > 1
		run goroutine(2, GOS0 + GOS1 + 1);
#endif
#ifdef TICKS
		run watch(0);
#if GOS1
		run watch(1);
#endif
#if GOS2
		run watch(2);
#endif
#endif
#if KILLS
		run killer();
#endif
	}
}
