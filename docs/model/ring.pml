/* A ring: the last KEPT values of a stream, in one slot more.
 * README.md lists the invariants (R) that are checked here.
 *
 * Configuration, by -D:
 *   KEPT     values that are kept
 *   WRITERS  processes that append APPENDS values each, under the lock
 *   READS    copies of the one reader, which takes no lock
 *   KILLS    writers killed, each at any step
 *   MUT_x    leaves a rule out
 *
 * Memory order: as in slots.pml. A commit is kept in `pending` until a step of its own makes it
 * visible, at the latest before the lock is released. A value is two pieces, which the reader
 * loads in order.
 */

#ifndef KEPT
#define KEPT 2
#endif
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef APPENDS
#define APPENDS 3
#endif
#ifndef READS
#define READS 4
#endif
#ifndef KILLS
#define KILLS 0
#endif

#define BIT(i)	(1 << (i))
#ifdef MUT_NO_SPARE_SLOT
#define SLOTS	KEPT
#else
#define SLOTS	(KEPT + 1)
#endif
#define SLOT(s)	(((s) - 1) % SLOTS)

byte commit;		/* how many values; value s is in SLOT(s) */
byte slot[8];		/* piece p of slot i is slot[2*i+p] */
byte word;		/* the lock, reduced to its owner: writer i has id i+1 */
byte dead;		/* bit id */
byte pending;		/* a commit that is not visible yet */

/* Ghosts: what was appended as each value. */
byte serial;
byte value[16];

#define DEAD(i)	(dead & BIT(i))
#define NEWEST	(pending -> pending : commit)

active proctype memory()
{
end:	do
	:: atomic { pending -> commit = pending; pending = 0 }
	od
}

inline append()
{
	atomic {
		c = NEWEST;
		/* R3: what is kept is there, whoever died meanwhile */
		i = 1;
		do
		:: i > c -> break
		:: i <= c ->
			assert(pending || c - i >= KEPT || (slot[2*SLOT(i)] == value[i] && slot[2*SLOT(i) + 1] == value[i]));
			i++
		od;
		i = 0;
		serial++; mine = serial
	};
#ifdef MUT_COMMIT_FIRST
	atomic { value[c + 1] = mine; pending = c + 1 };
#endif
	/* plain stores, in whatever order they become visible */
	if
	:: slot[2*SLOT(c + 1)] = mine; slot[2*SLOT(c + 1) + 1] = mine
	:: slot[2*SLOT(c + 1) + 1] = mine; slot[2*SLOT(c + 1)] = mine
	fi;
#ifndef MUT_COMMIT_FIRST
	atomic { !pending -> value[c + 1] = mine; pending = c + 1 };
#endif
	atomic { c = 0; mine = 0 }
}

proctype writer(byte me)
{
	byte c, i, mine;
	byte left = APPENDS;
{
	do
	:: left == 0 -> break
	:: left > 0 ->
		left--;
		if
		:: atomic { word == 0 -> word = me }
		:: atomic { word && DEAD(word) && !pending -> word = me }
		fi;
		append();
#ifdef MUT_TWO_APPENDS
		append();
#endif
		atomic { !pending -> word = 0 }		/* the releasing CAS comes after the commit */
	od
}
#if KILLS
	unless { atomic { DEAD(me) -> c = 0; i = 0; mine = 0; left = 0 } }
#endif
}

proctype reader()
{
	byte c, a, b, next = 1, missed, got;
	byte left = READS;
	do
	:: left == 0 -> break
	:: left > 0 ->
		left--;
		c = commit;
		if
		:: next > c -> skip			/* not there yet */
		:: next <= c ->
			if
			:: c - next >= KEPT -> missed = missed + (c - KEPT + 1 - next); next = c - KEPT + 1
			:: else
			fi;
			a = slot[2*SLOT(next)];
#ifndef MUT_COPY_LATE
			b = slot[2*SLOT(next) + 1];
#endif
			atomic {
				if
#ifdef MUT_KEPT_ONE_MORE
				:: commit - next < KEPT + 1 ->
#else
				:: commit - next < KEPT ->
#endif
#ifdef MUT_COPY_LATE
					left = left + 50
#else
					assert(a == value[next] && b == value[next]);	/* R1 */
					got++;
					assert(got + missed == next);			/* R2 */
					next++
#endif
				:: else
				fi
			};
#ifdef MUT_COPY_LATE
			/* a load that the processor moved behind the second look at the counter */
			if
			:: left >= 50 -> left = left - 50; b = slot[2*SLOT(next) + 1]; assert(a == value[next] && b == value[next]); got++; next++
			:: else
			fi;
#endif
		fi;
		atomic { c = 0; a = 0; b = 0 }
	od
}

#if KILLS
proctype killer()
{
	byte left = KILLS;
end:	do
	:: atomic { left > 0 && !DEAD(1) -> left--; dead = dead | BIT(1) }
	:: atomic { left > 0 && !DEAD(2) -> left--; dead = dead | BIT(2) }
	od
}
#endif

init
{
	atomic {
		run writer(1);
#if WRITERS > 1
		run writer(2);
#endif
		run reader();
#if KILLS
		run killer()
#endif
	}
}
