/*
 * Await: sleeping until somebody has changed what a lock guards.
 * README.md lists the invariants (C) that are checked here.
 *
 * Configuration, by -D:
 *   STORERS  processes that add 1 to the value under the lock, STORES times each
 *   AWAIT0   goroutines of the first awaiting process (1 or 2); AWAIT1: of the second (0 or 1)
 *   KILLS    storers killed, each at any step
 *   CANCEL   the first goroutine may give up
 *   HOPELESS the second goroutine waits for what never comes, until the first is content
 *   MUT_x    leaves a rule out
 */

#ifndef STORERS
#define STORERS 2
#endif
#ifndef STORES
#define STORES 1
#endif
#ifndef AWAIT0
#define AWAIT0 1
#endif
#ifndef AWAIT1
#define AWAIT1 1
#endif
#ifndef KILLS
#define KILLS 0
#endif

#define BIT(i)	(1 << (i))
#define AWAITED	1			/* bit 0 of chg: somebody awaits a change */
#define WANT	((STORERS - KILLS) * STORES)	/* what the value reaches whoever is killed */
#ifdef HOPELESS
#define WANT1	200
#else
#define WANT1	WANT
#endif

byte chg;		/* futex word: counts changes above bit 0 */
byte value;
byte word;		/* the lock, reduced to its owner: storer i has id i+1 */
byte dead;		/* bit id */

/* Of an awaiting process: one of its goroutines sleeps in the kernel for all, the others on their channels. */
byte sleeping;		/* bit p: somebody of p sleeps in the kernel, or is on the way there or back */
byte known[2];		/* the chg that all sleepers of p know */
byte sleepers;		/* bit g: g is in the group of its process */
byte token;		/* bit g: its channel holds a token */
byte asleep;		/* bit p: in FUTEX_WAIT */

/* Ghosts */
byte telling;		/* bit i: storer i has changed the value, or chg, and not yet woken everybody */
bool content;		/* the first goroutine is done */
bool lost;		/* a storer died while telling, and nobody has taken a lock over since */

#define DEAD(i)	(dead & BIT(i))

#ifdef MUT_WAKE_ONE
#define WAKE	if :: asleep & BIT(0) -> asleep = asleep & ~BIT(0) :: asleep & BIT(1) -> asleep = asleep & ~BIT(1) :: !asleep fi
#else
#define WAKE	asleep = 0
#endif

#ifdef MUT_CLEAR_WITHOUT_BUMP
#define BUMP	chg = chg & ~AWAITED
#else
#define BUMP	chg = (chg & ~AWAITED) + 2
#endif

/* mask: the goroutines of process p */
proctype awaiter(byte p; byte g; byte mask; byte want)
{
	byte seen;
Look:
#ifdef MUT_VALUE_FIRST
	if :: value >= want -> goto Leave :: value < want fi;
#endif
	/* bit 0 is set before the counter is read; whoever finds another than the sleepers know tells them */
	atomic {
		chg = chg | AWAITED; seen = chg;
#ifndef MUT_QUIET_LOOK
		if :: seen != known[p] -> token = token | (sleepers & mask) :: else fi;
#endif
		known[p] = seen; sleepers = sleepers | BIT(g)
	};
#ifndef MUT_VALUE_FIRST
	if :: value >= want -> goto Leave :: value < want fi;
#endif

	/* enter */
	if
	:: atomic { !(sleeping & BIT(p)) && seen == known[p] -> sleeping = sleeping | BIT(p) }
	:: atomic { (sleeping & BIT(p)) || seen != known[p] }; goto Park
	fi;

	/* FUTEX_WAIT compares and queues in one step */
	if
	:: atomic { chg == seen -> asleep = asleep | BIT(p) }
	:: atomic { chg != seen }; goto Back
	fi;
	if
	:: !(asleep & BIT(p))
	:: atomic { lost && (asleep & BIT(p)) -> asleep = asleep & ~BIT(p) }	/* its time-out, when nothing else helps */
#ifdef HOPELESS
	:: atomic { content && g == 1 && (asleep & BIT(p)) -> asleep = asleep & ~BIT(p); want = 0 }
#endif
#ifdef CANCEL
	:: atomic { g == 0 && (asleep & BIT(p)) -> asleep = asleep & ~BIT(p); want = 0 }
#endif
	fi;
Back:
	/* After a time-out the versions of what the others look at tell who has missed something. */
	atomic { sleeping = sleeping & ~BIT(p); if :: lost -> token = token | (sleepers & mask) :: else fi };
	goto Look;

Park:
	if
	:: atomic { token & BIT(g) -> token = token & ~BIT(g) }; goto Look
#ifdef HOPELESS
	:: content && g == 1
#endif
#ifdef CANCEL
	:: g == 0
#endif
	fi;

Leave:	/* the others need somebody in the kernel */
	atomic {
		sleepers = sleepers & ~BIT(g); token = token & ~BIT(g);
#ifndef MUT_LEAVES_QUIETLY
		if :: !(sleeping & BIT(p)) -> token = token | (sleepers & mask) :: else fi;
#endif
		if :: g == 0 -> content = true :: else fi;
		seen = 0
	}
}

proctype storer(byte i)
{
	byte left = STORES;
	bool took;
{
	do
	:: left == 0 -> break
	:: left > 0 ->
		left--;
		if
		:: atomic { word == 0 -> word = i + 1 }
		:: atomic { word && DEAD(word) -> word = i + 1; took = true }
		fi;
		if
		:: took -> took = false;
#ifndef MUT_TAKER_QUIET
#ifdef MUT_TAKER_LOOKS_AT_BIT
			if
			:: atomic { chg & AWAITED }; atomic { BUMP; telling = telling | BIT(i) };
				atomic { WAKE; lost = false; telling = telling & ~BIT(i) }
			:: atomic { !(chg & AWAITED) -> lost = false }
			fi
#else
			atomic { BUMP; telling = telling | BIT(i) };
			atomic { WAKE; lost = false; telling = telling & ~BIT(i) }
#endif
#else
			lost = false
#endif
		:: else
		fi;
#ifdef MUT_LOOK_BEFORE_STORE
		if :: chg & AWAITED -> BUMP; atomic { WAKE } :: else fi;
		atomic { value++; telling = telling | BIT(i) };
		atomic { word = 0; telling = telling & ~BIT(i) }
#else
		atomic { value++; telling = telling | BIT(i) };
		word = 0;
		if
		:: atomic { chg & AWAITED }; atomic { BUMP }; atomic { WAKE; telling = telling & ~BIT(i) }
		:: atomic { !(chg & AWAITED) -> telling = telling & ~BIT(i) }
		fi
#endif
	od
}
#if KILLS
	unless { atomic { DEAD(i + 1) -> left = 0; took = false } }
#endif
}

#if KILLS
proctype killer()
{
	byte left = KILLS;
	byte i;
end:	do
	:: atomic { left > 0 ->
		left--;
		if
		:: !DEAD(1) -> i = 0
		:: !DEAD(2) -> i = 1
#if STORERS > 2
		:: !DEAD(3) -> i = 2
#endif
		fi;
		dead = dead | BIT(i + 1);
		if :: telling & BIT(i) -> lost = true; telling = telling & ~BIT(i) :: else fi;
		i = 0 }
	od
}
#endif

init
{
	atomic {
		run awaiter(0, 0, 3, 1);
#if AWAIT0 > 1
		run awaiter(0, 1, 3, WANT1);
#endif
#if AWAIT1
		run awaiter(1, 2, 4, WANT);
#endif
		run storer(0);
		run storer(1);
#if STORERS > 2
		run storer(2);
#endif
#if KILLS
		run killer()
#endif
	}
}
