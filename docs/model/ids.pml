/*
 * Ids: how processes that attach get them, in a file whose counter may be older than its lock words,
 * because it was copied while it was in use, or outlived its system.
 * README.md lists the invariants (D) that are checked here.
 *
 * Configuration, by -D:
 *   PROCS    processes that attach at the same time, and lock ROUNDS times each
 *   WORDS    lock words
 *   KILLS    processes killed, each at any step
 *   MUT_x    leaves a rule out
 *
 * The counter starts at 1 or 2, and each word has any owner up to STALE: owners of another time, who are dead.
 */

#ifndef PROCS
#define PROCS 2
#endif
#ifndef WORDS
#define WORDS 2
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef STALE
#define STALE 2
#endif

#define BIT(i)	(1 << (i))
#define IDS	(STALE + 1 + PROCS + 2)	/* no id reaches this */

byte next;		/* the counter: the id that the next attachment takes */
byte word[WORDS];	/* the owner; 0: free */
bool home;		/* the header has this system's home */
byte alloc;		/* who holds the allocation lock; 0: nobody */
short leases;		/* bit id: the lease is held */

/* Ghosts */
byte dead;		/* bit p */
byte mine[PROCS];	/* the id of p */
short given;		/* bit id: handed out */
byte holder[WORDS];	/* the living process that is inside, p + 1 */

#define DEAD(p)	(dead & BIT(p))

/* Some word has the id n. */
#if WORDS == 1
#define STANDS(n)	(word[0] == (n))
#else
#define STANDS(n)	(word[0] == (n) || word[1] == (n))
#endif

proctype process(byte p)
{
	byte i, w, n, me;
	byte left = ROUNDS;
{
	/* Attach. Whoever holds a lease has done all of this. */
#ifndef MUT_NEVER_RAISED
	if
	:: home
	:: atomic { !home && leases }
	:: atomic { !home && !leases };
		if
		:: atomic { alloc == 0 -> alloc = p + 1 };
			if :: home -> goto Repaired :: !home fi
		:: atomic { alloc }		/* it has waited for long enough: a reader may keep the lock */
		fi;
#ifdef MUT_HOME_FIRST
		atomic { if :: alloc == p + 1 -> home = true :: else fi };
#endif
		do
		:: i == WORDS -> break
		:: i < WORDS ->
#ifdef MUT_RESETS_WORDS
			word[i] = 0; i++
#else
			w = word[i];
			n = next;
			if
			:: w < n -> i++
#ifdef MUT_STORES_COUNTER
			:: w >= n -> next = w + 1; i++
#else
			:: w >= n ->
				if
				:: atomic { next == n -> next = w + 1 }; i++
				:: atomic { next != n }
				fi
#endif
			fi
#endif
		od;
		/* last, so that whoever comes after a death begins again */
		atomic { if :: alloc == p + 1 -> home = true :: else fi };
Repaired:	atomic { if :: alloc == p + 1 -> alloc = 0 :: else fi; i = 0; w = 0; n = 0 }
	fi;
#endif

	/* Take an id, then its lease. */
	do
	:: true ->
		n = next;
#ifdef MUT_ADDS_LATER
		next = n + 1; me = n;
#else
		if
		:: atomic { next == n -> next = n + 1; me = n }
		:: atomic { next != n }; goto Again
		fi;
#endif
		atomic {
			assert(!(given & BIT(me)));	/* D1 */
			assert(!STANDS(me));		/* D2 */
			assert(me < IDS);
			given = given | BIT(me); mine[p] = me
		};
#ifndef MUT_LEASE_LATE
		atomic { leases = leases | BIT(me) };
#endif
		break;
Again:		skip
	od;

	/* Lock and unlock. */
	do
	:: left == 0 -> break
	:: left > 0 ->
		if
		:: i = 0
#if WORDS > 1
		:: i = 1
#endif
		fi;
		do
		:: atomic { word[i] == 0 -> word[i] = me; assert(holder[i] == 0); holder[i] = p + 1 }; break	/* D3 */
		:: atomic { word[i] != 0 -> w = word[i] };
			assert(w != me);			/* it would wait for itself */
			/* the probe, and the takeover from this very word */
			if
			:: !(leases & BIT(w)) ->
				if
				:: atomic { word[i] == w -> word[i] = me; assert(holder[i] == 0); holder[i] = p + 1 }; break	/* D3 */
				:: atomic { word[i] != w }
				fi
			:: atomic { word[i] != w }
			fi
		od;
#ifdef MUT_LEASE_LATE
		atomic { leases = leases | BIT(me) };
#endif
		atomic { assert(word[i] == me); holder[i] = 0; word[i] = 0 };	/* D3 */
		left--
	od;
	/* The process ends. */
	atomic { leases = leases & ~BIT(me); w = 0; n = 0; i = 0 }
}
#if KILLS
	unless { atomic { DEAD(p) ->
		leases = leases & ~BIT(mine[p]);
		if :: alloc == p + 1 -> alloc = 0 :: else fi;
		if :: holder[0] == p + 1 -> holder[0] = 0 :: else fi;
#if WORDS > 1
		if :: holder[1] == p + 1 -> holder[1] = 0 :: else fi;
#endif
		w = 0; n = 0; i = 0; left = 0 } }
#endif
}

#if KILLS
proctype killer()
{
	byte left = KILLS;
end:	do
	:: atomic { left > 0 && !DEAD(0) -> left--; dead = dead | BIT(0) }
	:: atomic { left > 0 && !DEAD(1) -> left--; dead = dead | BIT(1) }
	od
}
#endif

init
{
	byte i;
	atomic {
		if :: next = 1 :: next = 2 fi;
		do
		:: i == WORDS -> break
		:: i < WORDS -> if :: skip :: word[i] = 1 :: word[i] = STALE fi; i++
		od;
		i = 0;
		run process(0);
		run process(1);
#if PROCS > 2
		run process(2);
#endif
#if KILLS
		run killer()
#endif
	}
}
