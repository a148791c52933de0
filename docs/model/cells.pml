/*
 * Cells: how processes count without contention, and how the parts of the dead are treated.
 * README.md lists the invariants (K for a Counter, G for a Gauge) that are checked here.
 *
 * Configuration, by -D:
 *   GAUGE    the cells of a Gauge; otherwise those of a Counter or a Histogram
 *   PROCS    processes that change the value
 *   CELLS    cells that can be claimed, 1 to CELLS
 *   CHANGES  additions, or sets, of each process
 *   READS    Loads of the one reader, one after the other
 *   KILLS    processes killed, each at any step
 *   MUT_x    leaves a rule out
 *
 * Process p has the id p + 1. The k-th set of a Gauge by the process with the id n stores 8 * n + k.
 */

#ifndef PROCS
#define PROCS 3
#endif
#ifndef CELLS
#define CELLS 2
#endif
#ifndef CHANGES
#define CHANGES 2
#endif
#ifndef READS
#define READS 2
#endif
#ifndef KILLS
#define KILLS 0
#endif

#define BIT(i)	(1 << (i))
#define CLEAN	8
#define ID(o)	((o) & 7)

byte high;
byte owner[CELLS + 1];
byte number[CELLS + 1];
byte dead;		/* bit id: its lease is free */

/* Ghosts */
byte made;		/* additions that are in memory */
byte known;		/* additions that have returned */
byte user[CELLS + 1];	/* the id of the living process whose cell it is */
byte shown;		/* bit id: its gauge was set, and it lives */

#define DEAD(n)	(dead & BIT(n))

/* CAS(owner[i], o -> new); won says whether it succeeded. */
#ifdef MUT_CLAIM_BY_STORE
#define TAKE(new)	owner[i] = new; won = true
#else
#define TAKE(new)	if :: owner[i] == o -> owner[i] = new; won = true :: else -> won = false fi
#endif

#ifdef GAUGE
#ifdef MUT_NEVER_CLEAN
#define MINE	me
#else
#define MINE	(me | CLEAN)
#endif
#else
#define MINE	me
#endif

/* Tries to claim cell i, in one step. */
#define CLAIM \
	TAKE(MINE); \
	if \
	:: won -> \
		assert(user[i] == 0 || DEAD(user[i]));	/* K3 */ \
		user[i] = me \
	:: else \
	fi

inline raise()
{
#ifdef MUT_STORES_HIGH
	h = high;
	if :: h < i -> high = i :: else fi;
	h = 0
#else
	atomic { if :: high < i -> high = i :: else fi }
#endif
}

proctype process(byte p)
{
	byte i, o, h, k, me;
	bool won;
{
#ifdef MUT_ID_REUSED
	if
	:: atomic { p == PROCS - 1 && DEAD(1) -> me = 1; dead = dead & ~BIT(1) }
	:: atomic { me = p + 1 }
	fi;
#else
	atomic { me = p + 1 };
#endif
	/* Claim: first what the dead have left, below high. */
	atomic { h = (high < CELLS -> high : CELLS); i = 1 };
	do
	:: atomic { i > h -> h = 0 }; break
	:: atomic { i <= h ->
			o = owner[i];
			if :: ID(o) != me && ID(o) != 0 && !DEAD(ID(o)) -> i++; o = 0; goto Next :: else fi };
		atomic { CLAIM; o = 0; if :: won -> goto Claimed :: else -> i++ fi };
Next:		skip
	od;
	/* Then a cell that nobody had. */
	do
	:: i > CELLS -> break
	:: i <= CELLS ->
#ifndef MUT_HIGH_LATE
		raise();
#endif
		atomic { CLAIM; if :: won -> goto Claimed :: !won -> i++ fi }
	od;
	i = 0;			/* the cell that all share; of a Gauge: ErrFull */
#ifdef GAUGE
	goto End;
#endif
Claimed:
#ifdef GAUGE
	number[i] = 0;
	do
	:: k == CHANGES -> break
	:: k < CHANGES ->
#ifdef MUT_SHOWN_EARLY
		if :: k == 0 -> owner[i] = me :: else fi;
#endif
		atomic { k++; number[i] = 8 * me + k };
#ifndef MUT_SHOWN_EARLY
		if :: k == 1 -> owner[i] = me :: else fi;
#endif
		atomic { shown = shown | BIT(me) }
	od;
	/* It lives on, until it is killed. */
End:	skip
#else
#ifdef MUT_ZEROES
	if :: i -> number[i] = 0 :: else fi;
#endif
#ifdef MUT_FOLDS
	if
	:: i && number[i] -> atomic { o = number[i]; number[0] = number[0] + o }; number[i] = 0; o = 0
	:: else
	fi;
#endif
	do
	:: k == CHANGES -> break
	:: k < CHANGES ->
#ifdef MUT_ADDS_IN_TWO
		o = number[i];
		atomic { number[i] = o + 1; made++; o = 0 };
#else
		atomic { number[i]++; made++ };
#endif
		atomic { known++; k++ }
	od;
#ifdef MUT_HIGH_LATE
	raise()
#endif
#endif
}
#if KILLS
	unless { atomic { DEAD(p + 1) -> i = 0; o = 0; h = 0; k = 0; won = false; me = 0 } }
#endif
}

#ifdef GAUGE
proctype reader()
{
	byte i, o, x, h;
	byte found, before, gone;
	byte left = READS;
	do
	:: left == 0 -> break
	:: left > 0 ->
		atomic { left--; before = shown; gone = dead; found = 0; h = (high < CELLS -> high : CELLS); i = 1 };
		do
		:: atomic { i > h -> h = 0; i = 0 }; break
		:: i <= h ->
Again:			o = owner[i];
			if
#ifdef MUT_COUNTS_CLEAN
			:: ID(o) == 0
			:: ID(o) && !DEAD(ID(o)) ->
#else
			:: o == 0 || (o & CLEAN)
			:: o && !(o & CLEAN) && !DEAD(o) ->
#endif
				x = number[i];
				atomic {
#ifndef MUT_ONE_LOOK
					if :: owner[i] != o -> o = 0; x = 0; goto Again :: else fi;
#endif
					assert(x / 8 == ID(o));			/* G1 */
					found = found | BIT(ID(o)); x = 0
				}
#ifndef MUT_COUNTS_CLEAN
			:: o && !(o & CLEAN) && DEAD(o) ->
#else
			:: ID(o) && DEAD(ID(o)) ->
#endif
#if defined(MUT_NEVER_REMOVED)
				atomic { found = found | BIT(ID(o)) }
#elif defined(MUT_REMOVE_BY_STORE)
				owner[i] = 0
#else
				atomic { if :: owner[i] == o -> owner[i] = 0 :: else fi }
#endif
			fi;
			atomic { i++; o = 0 }
		od;
		atomic {
			assert(!(found & gone));			/* G2 */
			assert(!(before & ~dead & ~found));		/* G3 */
			found = 0; before = 0; gone = 0
		}
	od
}
#else
proctype reader()
{
	byte i, h, sum, before, last;
	byte left = READS;
	do
	:: left == 0 -> break
	:: left > 0 ->
		atomic { left--; before = known; h = (high < CELLS -> high : CELLS); i = 0 };
		do
		:: i > h -> break
		:: atomic { i <= h ->
#ifdef MUT_SKIPS_THE_DEAD
			if :: i && DEAD(owner[i]) :: else -> sum = sum + number[i] fi;
#else
			sum = sum + number[i];
#endif
			i++ }
		od;
		atomic {
			assert(before <= sum && sum <= made);		/* K1 */
			assert(sum >= last);				/* K2 */
			last = sum; sum = 0; before = 0; i = 0; h = 0
		}
	od
}
#endif

#if KILLS
proctype killer()
{
	byte left = KILLS;
end:	do
	:: atomic { left > 0 && !DEAD(1) -> left--; dead = dead | BIT(1); shown = shown & ~BIT(1) }
	:: atomic { left > 0 && !DEAD(2) -> left--; dead = dead | BIT(2); shown = shown & ~BIT(2) }
	od
}
#endif

init
{
	atomic {
		run process(0);
		run process(1);
#if PROCS > 2
		run process(2);
#endif
		run reader();
#if KILLS
		run killer()
#endif
	}
}
