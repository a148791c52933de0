/*
 * The index of names: how a process adds a record, and how others find it.
 * README.md lists the invariants (N) that are checked here.
 *
 * Configuration, by -D:
 *   ADDERS   processes that add a name each; the first two may add the same one
 *   READERS  processes that look for name 1, LOOKS times each, without a lock
 *   KILLS    adders killed, each at any step
 *   GROW     the last adder makes a larger index first
 *   MUT_x    leaves a rule out
 *
 * A record is one number, its name; INDEX is the record of an index. Records are written before `used` says so,
 * and what a dead adder left above `used` is written again. A slot has the number of a record, from 1.
 */

#ifndef ADDERS
#define ADDERS 2
#endif
#ifndef READERS
#define READERS 2
#endif
#ifndef LOOKS
#define LOOKS 1
#endif
#ifndef KILLS
#define KILLS 1
#endif

#define BIT(i)	(1 << (i))
#define INDEX	9
#define NAMES	2
#define SLOT(t, n)	slot[(t) * (NAMES + 1) + (n)]

byte record[5];		/* record[r - 1] is the name of record r */
byte used;		/* records that are published */
byte indexed;		/* records that are in the index */
byte current;		/* the table that is the index: 0 or 1 */
byte slot[6];
byte values;		/* names in the index */
byte alloc;		/* who holds the allocation lock, + 1 */

/* Ghosts */
byte dead;		/* bit i */
bool seen;		/* some reader has found name 1 */

#define DEAD(i)	(dead & BIT(i))
#define COUNT(t)	((SLOT(t, 1) -> 1 : 0) + (SLOT(t, 2) -> 1 : 0))

/* Makes the index lead to record r, and counts its name, if it is new there. */
inline enter(r)
{
	if
	:: record[r - 1] != INDEX && SLOT(current, record[r - 1]) == 0 ->
		SLOT(current, record[r - 1]) = r;
		values = values + 1
	:: else
	fi
}

inline publish(name)
{
#ifdef MUT_SLOT_FIRST
	if :: name != INDEX -> SLOT(current, name) = used + 1 :: else fi;
#endif
	record[used] = name;
#ifdef MUT_INDEXED_FIRST
	if :: name != INDEX -> indexed = used + 1 :: else fi;
#endif
	used = used + 1
}

proctype adder(byte i; byte name)
{
	byte r, t;
{
	atomic { alloc == 0 -> alloc = i + 1 };

#ifndef MUT_NEVER_COMPLETED
	/* Complete what a dead adder has left. */
	if
	:: indexed < used ->
		r = indexed;
		do
		:: r == used -> break
		:: r < used -> r++; enter(r)
		od;
#ifndef MUT_VALUES_NOT_COUNTED
		values = COUNT(current);
#endif
		indexed = used
	:: else
	fi;
	atomic { r = 0; assert(values == COUNT(current)) };	/* N4 */
#endif

	if
	:: SLOT(current, name) -> goto Unlock
	:: else
	fi;
	assert(record[0] != name || used == 0);			/* N3 */
	assert(record[1] != name || used <= 1);			/* N3 */

#ifdef GROW
	if
	:: i == ADDERS - 1 && current == 0 ->
		t = 1;
#ifdef MUT_INDEX_FIRST
		publish(INDEX);
		current = 1;
#endif
		SLOT(1, 1) = SLOT(0, 1);
		SLOT(1, 2) = SLOT(0, 2);
#ifndef MUT_INDEX_FIRST
		publish(INDEX);
		current = 1;
#endif
		indexed = used
	:: else
	fi;
#endif

	publish(name);
	enter(used);
	indexed = used;
Unlock:	atomic { alloc = 0; r = 0; t = 0 }
}
	unless { atomic { DEAD(i) -> if :: alloc == i + 1 -> alloc = 0 :: else fi; r = 0; t = 0 } }
}

proctype reader()
{
	byte i, u, r, t, found;
	byte left = LOOKS;
	bool must;
	do
	:: left == 0 -> break
	:: left > 0 ->
		left--;
		must = seen;
#ifndef MUT_INDEXED_LATE
		i = indexed;
#endif
		t = current;
		found = SLOT(t, 1);
#ifdef MUT_INDEXED_LATE
		i = indexed;
#endif
		if
		:: found
		:: !found ->
			u = used;
			r = i;
			do
			:: r >= u -> break
			:: r < u -> r++; if :: record[r - 1] == 1 && !found -> found = r :: else fi
			od
		fi;
		atomic {
			assert(!found || (found <= used && record[found - 1] == 1));	/* N1 */
			assert(found || !must);						/* N2 */
			if :: found -> seen = true :: else fi;
			i = 0; u = 0; r = 0; t = 0; found = 0; must = false
		}
	od
}

proctype killer()
{
	byte left = KILLS;
end:	do
	:: atomic { left > 0 && !DEAD(0) -> left--; dead = dead | BIT(0) }
	:: atomic { left > 0 && !DEAD(1) -> left--; dead = dead | BIT(1) }
	od
}

init
{
	atomic {
		run adder(0, 1);
		if :: run adder(1, 2) :: run adder(1, 1) fi;
#if ADDERS > 2
		run adder(2, 2);
#endif
		run reader();
#if READERS > 1
		run reader();
#endif
#if KILLS
		run killer()
#endif
	}
}
