/*
 * Pass: a parent hands over an open file description for the lease of a child that cannot open the file.
 * README.md lists the invariants (P) that are checked here.
 *
 * Configuration, by -D:
 *   OTHERS   processes that opened the file by themselves (0 or 1), beside the parent and its two children
 *   KILLS    processes killed, each at any step
 *   MUT_x    leaves a rule out
 *
 * Process p has the id p + 1, and locks once. Process 0 is the parent, 1 and 2 are the children, 3 is another.
 * Description p is the one through which p takes its lease. Description SEGMENT is that of the segment's file,
 * which the parent and the children share.
 */

#ifndef OTHERS
#define OTHERS 0
#endif
#ifndef KILLS
#define KILLS 1
#endif

#define BIT(i)	(1 << (i))
#define SEGMENT	4

byte word;		/* the owner; 0: free */
byte has[5];		/* of each description: bit p: process p has a descriptor of it */
byte socket[3];		/* of the socket for child p: bit q: process q has its receiving end */
bool waits[3];		/* the descriptor for child p waits in it */
byte lease[5];		/* of id i: the description that holds it, + 1; 0: none */
byte started;		/* bit p */
byte dead;		/* bit p: it has ended, in whatever way */
byte killed;

/* Ghost */
byte holder;		/* the living process that is inside, p + 1 */

#define DEAD(p)	(dead & BIT(p))

/* What waits in a socket keeps the description open, for as long as the socket has a receiving end. */
#define OPEN(d)	(has[d] || ((d) < 3 && waits[d] && socket[d]))

#ifdef MUT_SHARED_DESCRIPTION
#define THROUGH(p)	((p) == 0 || (p) == 3 -> (p) : SEGMENT)
#else
#define THROUGH(p)	(p)
#endif

/* F_OFD_GETLK through description d: a lock of the same description is no obstacle. */
#define HELD(i, d)	(lease[i] && lease[i] != (d) + 1 && OPEN(lease[i] - 1))

inline end(q)
{
	dead = dead | BIT(q);
	if :: holder == q + 1 -> holder = 0 :: else fi;
	has[0] = has[0] & ~BIT(q); has[1] = has[1] & ~BIT(q); has[2] = has[2] & ~BIT(q);
	has[3] = has[3] & ~BIT(q); has[SEGMENT] = has[SEGMENT] & ~BIT(q);
	socket[1] = socket[1] & ~BIT(q); socket[2] = socket[2] & ~BIT(q)
}

/* Lock and unlock, as whoever can wait for ever. */
inline useLock(p)
{
	lease[p + 1] = THROUGH(p) + 1;
	do
	:: atomic { word == 0 -> word = p + 1; assert(holder == 0); holder = p + 1 }; break
	:: atomic { word != 0 && !HELD(word, THROUGH(p)) -> w = word };
		if
		:: atomic { word == w ->
			assert(DEAD(w - 1));			/* P1 */
			word = p + 1; assert(holder == 0); holder = p + 1 }; break
		:: atomic { word != w }
		fi
	od;
	atomic { assert(word == p + 1); holder = 0; word = 0; w = 0 }
}

/* The parent hands over to child c, and starts it. */
inline pass(c)
{
	has[c] = has[c] | BIT(0);			/* opened anew */
	atomic { socket[c] = BIT(0); waits[c] = true };	/* sent, into a socket of which it has both ends */
#ifndef MUT_PARENT_KEEPS_COPY
	has[c] = has[c] & ~BIT(0);
#endif
	atomic {
		started = started | BIT(c);
		has[SEGMENT] = has[SEGMENT] | BIT(c);
		socket[c] = socket[c] | BIT(c);
#ifdef MUT_SOCKET_FOR_ALL
		if :: c == 2 -> socket[1] = socket[1] | (socket[1] & BIT(0) -> BIT(2) : 0) :: else fi
#endif
	}
}

proctype parent()
{
	byte w;
{
	pass(1);
	pass(2);
	useLock(0);
	/* Sooner or later its command is collected, and with it the receiving ends. The parent may live on. */
	if :: atomic { socket[1] = socket[1] & ~BIT(0); socket[2] = socket[2] & ~BIT(0) } :: skip fi;
	w = 0
}
	unless { atomic { DEAD(0) -> w = 0 } }
}

proctype child(byte p)
{
	byte w;
	(started & BIT(p)) || DEAD(0);
{
	if :: !(started & BIT(p)) -> goto Done :: else fi;
#ifdef MUT_SOCKET_FOR_ALL
	/* the other child's socket, as if it were one's own */
	if
	:: atomic { p == 2 && waits[1] && (socket[1] & BIT(2)) -> waits[1] = false; has[1] = has[1] | BIT(1) | BIT(2) }
	:: skip
	fi;
#endif
	if
	:: atomic { waits[p] -> waits[p] = false; has[p] = has[p] | BIT(p); socket[p] = socket[p] & ~BIT(p) }
#ifdef MUT_SOCKET_FOR_ALL
	:: atomic { !waits[p] -> socket[p] = socket[p] & ~BIT(p) }
#endif
	/* It may never attach: then it takes no lease and no lock. */
	:: goto Done
	fi;
	useLock(p);
	/* It ends, or lives on without the lock. */
	if :: atomic { end(p) } :: skip fi;
Done:	w = 0
}
	unless { atomic { DEAD(p) -> w = 0 } }
}

#if OTHERS
proctype other()
{
	byte w;
	atomic { has[3] = BIT(3) };
	useLock(3)
}
#endif

proctype killer()
{
Wait:
	if
	:: atomic { killed < KILLS && !DEAD(0) -> killed++; end(0) }
	:: atomic { killed < KILLS && (started & BIT(1)) && !DEAD(1) -> killed++; end(1) }
	:: atomic { killed < KILLS && (started & BIT(2)) && !DEAD(2) -> killed++; end(2) }
	:: atomic { killed == KILLS } -> goto Done
	:: true -> goto Done
	fi;
	goto Wait;
Done:	skip
}

init
{
	atomic {
		has[0] = BIT(0);
		has[SEGMENT] = BIT(0);
		run parent();
		run child(1);
		run child(2);
#if OTHERS
		run other();
#endif
		run killer()
	}
}
