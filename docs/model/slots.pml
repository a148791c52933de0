/*
 * Two slots and a commit counter: how a Struct or a String is published.
 * README.md lists the invariants (S) that are checked here.
 *
 * Configuration, by -D:
 *   WRITERS  processes that commit COMMITS times each, under the lock
 *   READS    tries of the one reader, which takes no lock
 *   KILLS    writers killed, each at any step
 *   OLD      writer 0 knows an older, shorter type: it carries the tail over
 *   MUT_x    leaves a rule out
 *
 * Memory order: the publish is a release store. What was stored before it is visible before it; what the
 * same goroutine stores afterwards may be visible earlier. So a publish is kept in `pending` until a step
 * of its own makes it visible, at the latest before the lock is released. The reader's loads are acquire
 * loads, in program order.
 */

#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef COMMITS
#define COMMITS 2
#endif
#ifndef READS
#define READS 3
#endif
#ifndef KILLS
#define KILLS 0
#endif

#define BIT(i)	(1 << (i))
#define HEAD	0	/* a slot is two pieces: one that every writer knows, */
#define TAIL	1	/* and one that an older type has not */

byte commit;		/* how many commits; the low bit names the committed slot */
byte slot[4];		/* piece s of slot c is slot[2*c+s] */
byte word;		/* the lock, reduced to its owner: writer i has id i+1 */
byte dead;		/* bit id */
byte pending;		/* a publish that is not visible yet */

/* Ghosts: the value that each counter stands for. */
byte serial;
byte head[16];
byte tail[16];

#define DEAD(i)	(dead & BIT(i))
#define MAX	(WRITERS * COMMITS * 2)

/* Makes the publish visible. A dead writer's stores are visible before its lease is free. */
active proctype memory()
{
end:	do
	:: atomic { pending -> commit = pending; pending = 0 }
	od
}

/* c: the counter as read under the lock, and the value made of it */
#ifdef MUT_FILL_COMMITTED
#define FILLED	(c & 1)
#else
#define FILLED	((c + 1) & 1)
#endif

#ifdef MUT_NO_CARRY
#define CARRY	slot[2*FILLED + TAIL]
#else
#define CARRY	slot[2*(c & 1) + TAIL]
#endif

#ifdef OLD
#define NEWTAIL	(i == 0 -> CARRY : mine)
#else
#define NEWTAIL	mine
#endif

#define REMEMBER \
	head[c + 1] = mine; \
	if :: NEW -> tail[c + 1] = mine :: !NEW -> tail[c + 1] = tail[c] fi

#ifdef OLD
#define NEW	(i != 0)
#else
#define NEW	true
#endif

inline commitOne()
{
	atomic {
		if :: pending -> c = pending :: else -> c = commit fi;
		/* S3: what was committed is there, whoever died meanwhile */
		assert(pending || (slot[2*(c & 1) + HEAD] == head[c] && slot[2*(c & 1) + TAIL] == tail[c]));
		serial++; mine = serial
	};
#ifdef MUT_PUBLISH_FIRST
	atomic { REMEMBER; pending = c + 1 };
#endif
	/* plain stores, in whatever order they become visible */
	if
	:: slot[2*FILLED + HEAD] = mine; slot[2*FILLED + TAIL] = NEWTAIL
	:: slot[2*FILLED + TAIL] = NEWTAIL; slot[2*FILLED + HEAD] = mine
	fi;
#ifndef MUT_PUBLISH_FIRST
	/* a second commit in the same hold waits for the first to be visible: stores to one word keep their order */
	atomic { !pending -> REMEMBER; pending = c + 1 };
#endif
	atomic { c = 0; mine = 0 }
}

proctype writer(byte i)
{
	byte c, mine;
	byte left = COMMITS;
{
	do
	:: left == 0 -> break
	:: left > 0 ->
		left--;
		if
		:: atomic { word == 0 -> word = i + 1 }
		:: atomic { word && DEAD(word) && !pending -> word = i + 1;
#ifdef MUT_RESET_COUNTER
			commit = commit & 1; head[commit] = slot[2*commit + HEAD]; tail[commit] = slot[2*commit + TAIL]
#endif
			}
		fi;
		commitOne();
#ifdef MUT_TWO_COMMITS
		commitOne();
#endif
		atomic { !pending -> word = 0 }		/* the releasing CAS comes after the publish */
	od
}
#if KILLS
	unless { atomic { DEAD(i + 1) -> c = 0; mine = 0; left = 0 } }
#endif
}

proctype reader()
{
	byte c, h, t, last;
	byte left = READS;
	do
	:: left == 0 -> break
	:: left > 0 ->
		left--;
		c = commit;
		h = slot[2*(c & 1) + HEAD];
#ifdef MUT_LATE_COPY
		atomic {
#endif
#ifndef MUT_LATE_COPY
		t = slot[2*(c & 1) + TAIL];
		atomic {
#endif
			if
#ifdef MUT_SLOT_INDEX
			:: (commit & 1) == (c & 1) ->
#else
			:: commit == c ->
#endif
#ifndef MUT_LATE_COPY
				assert(h == head[c] && t == tail[c]);	/* S1 */
				assert(c >= last);			/* S2 */
				last = c; left = 0
#else
				left = 50
#endif
			:: else
			fi
		};
#ifdef MUT_LATE_COPY
		/* a load that the processor moved behind the second look at the counter */
		if
		:: left == 50 -> t = slot[2*(c & 1) + TAIL]; assert(h == head[c] && t == tail[c]); left = 0
		:: else
		fi;
#endif
		atomic { c = 0; h = 0; t = 0 }
	od
}

#if KILLS
proctype killer()
{
	byte left = KILLS;
end:	do
	:: atomic { left > 0 && !DEAD(1) -> left--; dead = dead | BIT(1) }
	:: atomic { left > 0 && !DEAD(2) -> left--; dead = dead | BIT(2) }
#if WRITERS > 2
	:: atomic { left > 0 && !DEAD(3) -> left--; dead = dead | BIT(3) }
#endif
	od
}
#endif

init
{
	atomic {
		run writer(0);
		run writer(1);
#if WRITERS > 2
		run writer(2);
#endif
		run reader();
#if KILLS
		run killer()
#endif
	}
}
