/*
 * Asking: awaiting a change without the right to write. A process that may write sets
 * bit 0 in the asker's stead. README.md lists the invariants (C) that are checked here.
 *
 * Configuration, by -D:
 *   STORES    changes by the storer
 *   WRITER    a third process that may write awaits too, and sets bit 0 itself
 *   ASKERS    processes that may only read (1 or 2)
 *   ANSWERERS processes that answer (1 or 2)
 *   MUT_x     leaves a rule out
 */

#ifndef STORES
#define STORES 2
#endif
#ifndef ASKERS
#define ASKERS 1
#endif
#ifndef ANSWERERS
#define ANSWERERS 1
#endif

#define BIT(i)	(1 << (i))
#define AWAITED	1

byte chg;		/* futex word: counts changes above bit 0 */
byte value;
byte asleep;		/* bit p: asker p is in FUTEX_WAIT on chg; bit 2: the writer that awaits */
byte lock;		/* bit p: asker p holds its read lock */
byte listening;		/* answerers in FUTEX_WAIT on the bell */
byte rung;		/* answerers that were woken, and have not looked yet */

#define BUMP	chg = (chg & ~AWAITED) + 2
#define WAKE	asleep = 0

/* p: 0 or 1. Awaits the last change. */
proctype asker(byte p)
{
	byte seen;
	bool lost;	/* its ring reached nobody */
Look:
	seen = chg; lost = false;
	if
	:: seen & AWAITED -> lock = lock & ~BIT(p)
	:: else
	fi;
	if
	:: value >= STORES -> goto Done
	:: value < STORES
	fi;
	if
	:: seen & AWAITED
	:: else ->
#ifdef MUT_RING_FIRST
		if
		:: atomic { listening > 0 -> listening--; rung++ }
		:: atomic { listening == 0 -> lost = true }
		fi;
		lock = lock | BIT(p)
#else
		lock = lock | BIT(p);
		if
		:: atomic { listening > 0 -> listening--; rung++ }
		:: atomic { listening == 0 -> lost = true }
		fi
#endif
	fi;
	/* FUTEX_WAIT compares and queues in one step */
	if
	:: atomic { chg == seen -> asleep = asleep | BIT(p) }
	:: atomic { chg != seen }; goto Look
	fi;
	if
	:: !(asleep & BIT(p))
	/* The short time-out, of a sleep on a word without the bit, for a ring that was lost. */
	:: atomic { lost && !(seen & AWAITED) && (asleep & BIT(p)) -> asleep = asleep & ~BIT(p) }
	fi;
	goto Look;
Done:
	lock = lock & ~BIT(p)
}

#ifdef WRITER
proctype writer()
{
	byte seen;
Look:
	atomic { chg = chg | AWAITED; seen = chg };
	if
	:: value >= STORES -> goto Done
	:: value < STORES
	fi;
	if
	:: atomic { chg == seen -> asleep = asleep | BIT(2) }
	:: atomic { chg != seen }; goto Look
	fi;
	!(asleep & BIT(2));
	goto Look;
Done:	skip
}
#endif

proctype storer()
{
	byte left = STORES;
	do
	:: left == 0 -> break
	:: left > 0 ->
		left--;
		value++;
		if
		:: atomic { chg & AWAITED -> BUMP }; atomic { WAKE }
		:: atomic { !(chg & AWAITED) }
		fi
	od
}

proctype answerer()
{
	bool found;
end:	do
	:: atomic { listening++ };
end1:		atomic { rung > 0 -> rung-- };
		found = (lock != 0);
		if
		:: found ->
#ifdef MUT_WAKES_IF_CLEAR
			if
			:: atomic { !(chg & AWAITED) -> chg = chg | AWAITED }; atomic { WAKE }
			:: atomic { chg & AWAITED }
			fi
#else
			atomic { chg = chg | AWAITED };
#ifndef MUT_QUIET_ANSWER
			atomic { WAKE }
#endif
#endif
		:: else
		fi
	od
}

init
{
	atomic {
		run asker(0);
#if ASKERS > 1
		run asker(1);
#endif
#ifdef WRITER
		run writer();
#endif
		run storer();
		run answerer();
#if ANSWERERS > 1
		run answerer()
#endif
	}
}
