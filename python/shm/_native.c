/* The verbs that programs call most, in C: lock and unlock, and the changes and loads of
 * numbers, arrays, strings and structs. native.py gives them to the classes.
 *
 * A verb here does all of its work, or nothing: if the lock is not free, or an argument
 * needs more than a plain number, it calls the method of the same name in Python, which
 * the class keeps as _slow_NAME. So the waiting, the takeover of a dead holder's lock, the
 * lease and all error messages are in Python, once.
 *
 * The thread has the GIL from the start of a verb to its end. So no other thread of this
 * process, and no signal handler, comes between the lock, the change and the unlock. No
 * verb runs Python code while the state of its lock is between two states of the table in
 * mutex.py: arguments are converted before the lock is taken, and results made after it
 * is released.
 *
 * docs/FORMAT.md defines the memory and the order of the stores. Every address comes from
 * a ctypes object, whose bounds Mapping.at has checked, and which the handle keeps alive.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifdef Py_GIL_DISABLED
#error "a free-threaded Python uses the Python code: the verbs here rely on the GIL"
#endif
#ifdef PYPY_VERSION
#error "PyPy uses the Python code: the verbs here rely on CPython's GIL"
#endif

#define INTERFACE 5 /* native.py takes no other */

/* The lock cell, as in cell.py. */

typedef struct {
    uint32_t word, change;
    uint64_t probed;
    uint32_t starve, abandoned, takeovers, extent;
    uint64_t commit;
    unsigned char rest[24];
} Cell;

_Static_assert(sizeof(Cell) == 64 && offsetof(Cell, starve) == 16 && offsetof(Cell, commit) == 32, "as in docs/FORMAT.md");
_Static_assert(sizeof(void *) == 8 && __atomic_always_lock_free(8, 0), "64-bit words are atomic");

#define OWNER_MASK 0x3fffffffu
#define KERNEL_WAITERS 0x80000000u
#define STARVE_GO 2
#define AWAITED 1u
#define MAX_TRIES 64 /* copies that a reader makes before it asks for the lock */

#if defined(__x86_64__) || defined(__s390x__)
/* A compare-and-swap is a full barrier here, and loads and stores stay in order. */
#define FENCE() __atomic_signal_fence(__ATOMIC_SEQ_CST)
#else
#define FENCE() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#endif

static inline int cas_4(uint32_t *p, uint32_t old, uint32_t new_)
{
    return __atomic_compare_exchange_n(p, &old, new_, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline uint32_t load_4(uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static long futex_wake(uint32_t *word, int n)
{
    long woken = syscall(SYS_futex, word, 10 /* FUTEX_WAKE_BITSET, not private */, n, NULL, NULL, 0xffffffffu);
    return woken > 0 ? woken : 0;
}

/* Return a number that no other living thread of this process has, and that is not 0. */
static inline unsigned long this_thread(void)
{
#if defined(__x86_64__) && defined(__linux__)
    unsigned long pointer; /* the thread pointer, of which the system's libraries make pthread_self */
    __asm__("movq %%fs:0, %0" : "=r"(pointer));
    return pointer;
#else
    return PyThread_get_thread_ident();
#endif
}

/* Hold: what this process has of one lock. The class in mutex.py has the slow paths, and
 * the table of the states. */

typedef struct {
    PyObject_HEAD
    unsigned long owner; /* the gate: the thread that has it, or 0 */
    int waiters;         /* threads that wait for the gate */
    int posted;          /* wake was released, and no waiter has taken that yet */
    PyThread_type_lock wake;
    char held, clear_mark;
    Py_ssize_t depth, taken, editing;
    uint32_t id; /* this process's id; 0: it has none, and the fast path is closed */
    Cell *cell;
    PyObject *memory; /* what keeps the cell mapped */
} Hold;

static PyTypeObject Hold_Type;

static int hold_new_gate(Hold *h)
{
    if (h->wake == NULL || h->waiters || h->posted) {
        /* In a child of fork, threads that do not exist here wait for the old one. To free
         * it could wait for them. */
        PyThread_type_lock wake = PyThread_allocate_lock();
        if (wake == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        PyThread_acquire_lock(wake, NOWAIT_LOCK);
        h->wake = wake;
    }
    h->owner = 0;
    h->waiters = h->posted = 0;
    return 0;
}

static PyObject *Hold_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *memory;
    Py_ssize_t offset;
    Py_buffer b;
    if (!PyArg_ParseTuple(args, "On:Hold", &memory, &offset) || PyObject_GetBuffer(memory, &b, PyBUF_SIMPLE) < 0)
        return NULL;
    Hold *h = NULL;
    char *cell = b.buf;
    if (offset < 0 || b.len < (Py_ssize_t)sizeof(Cell) || offset > b.len - (Py_ssize_t)sizeof(Cell) ||
        ((uintptr_t)cell + offset) % sizeof(Cell))
        PyErr_SetString(PyExc_ValueError, "this is not a lock cell");
    else
        h = (Hold *)type->tp_alloc(type, 0);
    if (h != NULL) {
        h->cell = (Cell *)(cell + offset);
        h->memory = memory;
        Py_INCREF(memory);
    }
    PyBuffer_Release(&b); /* the memory of a ctypes object stays where it is */
    if (h != NULL && hold_new_gate(h) < 0)
        Py_CLEAR(h);
    return (PyObject *)h;
}

static void Hold_dealloc(Hold *h)
{
    if (h->wake != NULL)
        PyThread_free_lock(h->wake);
    Py_XDECREF(h->memory);
    Py_TYPE(h)->tp_free((PyObject *)h);
}

static int64_t monotonic_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static PyObject *Hold_acquire(Hold *h, PyObject *args)
{
    unsigned long me = this_thread();
    int blocking = 1;
    double timeout = -1;
    if (!PyArg_ParseTuple(args, "|pd:acquire", &blocking, &timeout))
        return NULL;
    if (!blocking && timeout != -1) {
        PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
        return NULL;
    }
    if (timeout != -1 && !(timeout >= 0)) {
        PyErr_SetString(PyExc_ValueError, "timeout value must be a non-negative number");
        return NULL;
    }
    if (timeout > (double)(PY_TIMEOUT_MAX / 1000000)) {
        PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
        return NULL;
    }
    int64_t until = timeout < 0 ? -1 : monotonic_us() + (int64_t)(timeout * 1e6);
    for (;;) {
        if (h->owner == 0 || h->owner == me) {
            h->owner = me;
            Py_RETURN_TRUE;
        }
        int64_t left = until < 0 ? -1 : until - monotonic_us();
        if (!blocking || (until >= 0 && left <= 0))
            Py_RETURN_FALSE;
        PyThread_type_lock wake = h->wake;
        PyLockStatus got;
        h->waiters++;
        Py_BEGIN_ALLOW_THREADS
        got = PyThread_acquire_lock_timed(wake, left, 1);
        Py_END_ALLOW_THREADS
        h->waiters--;
        if (got == PY_LOCK_ACQUIRED)
            h->posted = 0;
        else if (got == PY_LOCK_INTR && PyErr_CheckSignals() < 0)
            return NULL;
    }
}

static inline void open_gate(Hold *h)
{
    h->owner = 0;
    if (h->waiters && !h->posted) {
        h->posted = 1;
        PyThread_release_lock(h->wake);
    }
}

static PyObject *Hold_release(Hold *h, PyObject *Py_UNUSED(ignored))
{
    if (h->owner != this_thread()) {
        PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
        return NULL;
    }
    open_gate(h);
    Py_RETURN_NONE;
}

static PyObject *Hold_owned(Hold *h, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(h->owner == this_thread());
}

static PyObject *Hold_new_gate(Hold *h, PyObject *Py_UNUSED(ignored))
{
    if (hold_new_gate(h) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef Hold_methods[] = {
    {"acquire", (PyCFunction)Hold_acquire, METH_VARARGS, "Take the gate; return whether it was taken."},
    {"release", (PyCFunction)Hold_release, METH_NOARGS, "Release the gate."},
    {"owned", (PyCFunction)Hold_owned, METH_NOARGS, "Return whether this thread has the gate."},
    {"new_gate", (PyCFunction)Hold_new_gate, METH_NOARGS, "Have a gate that nobody has."},
    {NULL},
};

static PyMemberDef Hold_members[] = {
    {"held", T_BOOL, offsetof(Hold, held), 0, NULL},
    {"clear_mark", T_BOOL, offsetof(Hold, clear_mark), 0, NULL},
    {"depth", T_PYSSIZET, offsetof(Hold, depth), 0, NULL},
    {"taken", T_PYSSIZET, offsetof(Hold, taken), 0, NULL},
    {"editing", T_PYSSIZET, offsetof(Hold, editing), 0, NULL},
    {"id", T_UINT, offsetof(Hold, id), 0, NULL},
    {"waiters", T_INT, offsetof(Hold, waiters), READONLY, NULL},
    {NULL},
};

static PyTypeObject Hold_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "shm._native.Hold",
    .tp_basicsize = sizeof(Hold),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "What this process has of one lock.",
    .tp_new = Hold_new,
    .tp_dealloc = (destructor)Hold_dealloc,
    .tp_methods = Hold_methods,
    .tp_members = Hold_members,
};

/* The lock. */

static void wake_one(Cell *c, uint32_t starve)
{
    if (futex_wake(&c->word, 1) == 0 && starve != STARVE_GO && cas_4(&c->word, KERNEL_WAITERS, 0))
        futex_wake(&c->word, 1); /* a waiter may have come meanwhile and sleep on the reserved word */
}

/* Release the word. If it has not this process's id, change nothing and return -1. */
static int release_word(Hold *h)
{
    Cell *c = h->cell;
    uint32_t w, starve = 0;
    if (cas_4(&c->word, h->id, 0))
        return 0;
    do {
        w = load_4(&c->word);
        if ((w & OWNER_MASK) != h->id)
            return -1;
        if (w & KERNEL_WAITERS) {
            uint32_t s = __atomic_exchange_n(&c->starve, 0, __ATOMIC_SEQ_CST);
            starve = s > starve ? s : starve;
        }
    } while (!cas_4(&c->word, w, w & KERNEL_WAITERS && starve ? KERNEL_WAITERS : 0));
    if (w & KERNEL_WAITERS)
        wake_one(c, starve);
    return 0;
}

static void tell_sleepers(Cell *c)
{
    uint32_t w = load_4(&c->change);
    while (!cas_4(&c->change, w, (w & ~AWAITED) + 2))
        w = load_4(&c->change);
    futex_wake(&c->change, 0x7fffffff);
}

/* Wake those who await a change. It follows the release of the word. */
static inline void tell(Cell *c)
{
    FENCE();
    if (load_4(&c->change) & AWAITED)
        tell_sleepers(c);
}

enum { NOT_NOW, TAKEN, NESTED };

/* Take the lock for the time of one verb. NESTED: this thread has it already, and no
 * change is under way. The gate stays as it is, since no other code runs until leave. */
static inline int enter(Hold *h)
{
    if (h == NULL)
        return NOT_NOW;
    if (h->owner == 0)
        return h->id && cas_4(&h->cell->word, 0, h->id) ? TAKEN : NOT_NOW;
    return h->owner == this_thread() && h->held && !h->editing ? NESTED : NOT_NOW;
}

static PyObject *slow_exit_name;

/* Release what enter has taken. Return -1 with an exception if another process has
 * overwritten the word. */
static int leave(Hold *h, int how, PyObject *mutex)
{
    if (how == NESTED)
        return 0;
    if (release_word(h) == 0) {
        tell(h->cell);
        return 0;
    }
    h->owner = this_thread();
    h->held = 1;
    PyObject *r = PyObject_CallMethodObjArgs(mutex, slow_exit_name, Py_None, Py_None, Py_None, NULL);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* Numbers. */

typedef struct {
    char kind; /* 's' signed, 'u' unsigned, 'f' float, '?' bool; 0: none of them */
    char size;
} Number;

/* Return the number of a ctypes code and a size. */
static Number number_of(const char *code, Py_ssize_t size)
{
    Number n = {0, 0};
    if (code == NULL || code[0] == 0 || code[1] != 0)
        return n;
    if (strchr("bhilq", code[0]) && (size == 1 || size == 2 || size == 4 || size == 8))
        n.kind = 's';
    else if (strchr("BHILQ", code[0]) && (size == 1 || size == 2 || size == 4 || size == 8))
        n.kind = 'u';
    else if ((code[0] == 'f' && size == 4) || (code[0] == 'd' && size == 8))
        n.kind = 'f';
    else if (code[0] == '?' && size == 1)
        n.kind = '?';
    n.size = n.kind ? (char)size : 0;
    return n;
}

typedef union {
    uint64_t i;
    double d;
} Pattern;

typedef union {
    uint32_t i;
    float f;
} Pattern4;

static inline uint64_t pattern_of(double x, int size)
{
    if (size == 8)
        return (Pattern){.d = x}.i;
    return (Pattern4){.f = (float)x}.i;
}

static inline double float_of(uint64_t bits, int size)
{
    return size == 8 ? (Pattern){.i = bits}.d : (Pattern4){.i = (uint32_t)bits}.f;
}

/* Convert an object to a double without calling Python code. Return 0 if that cannot be done. */
static inline int as_double(PyObject *x, double *d)
{
    if (PyFloat_CheckExact(x)) {
        *d = PyFloat_AS_DOUBLE(x);
        return 1;
    }
    if (!PyLong_CheckExact(x))
        return 0;
    *d = PyLong_AsDouble(x);
    if (*d == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
}

/* Convert an object to the bits of a number as ctypes does, without calling Python code.
 * Return 0 if that cannot be done. */
static inline int bits_of(PyObject *x, Number n, uint64_t *bits)
{
    double d;
    switch (n.kind) {
    case 's':
    case 'u':
        if (!PyLong_CheckExact(x) && !PyBool_Check(x))
            return 0;
        *bits = PyLong_AsUnsignedLongLongMask(x);
        return 1;
    case 'f':
        if (!as_double(x, &d))
            return 0;
        *bits = pattern_of(d, n.size);
        return 1;
    case '?':
        if (!PyBool_Check(x))
            return 0;
        *bits = x == Py_True;
        return 1;
    }
    return 0;
}

/* One load, and one store, of the number's size. */

static inline uint64_t load_bits(const char *p, int size)
{
    switch (size) {
    case 1:
        return __atomic_load_n((uint8_t *)p, __ATOMIC_ACQUIRE);
    case 2:
        return __atomic_load_n((uint16_t *)p, __ATOMIC_ACQUIRE);
    case 4:
        return __atomic_load_n((uint32_t *)p, __ATOMIC_ACQUIRE);
    default:
        return __atomic_load_n((uint64_t *)p, __ATOMIC_ACQUIRE);
    }
}

static inline void store_bits(char *p, int size, uint64_t bits)
{
    switch (size) {
    case 1:
        __atomic_store_n((uint8_t *)p, (uint8_t)bits, __ATOMIC_RELEASE);
        break;
    case 2:
        __atomic_store_n((uint16_t *)p, (uint16_t)bits, __ATOMIC_RELEASE);
        break;
    case 4:
        __atomic_store_n((uint32_t *)p, (uint32_t)bits, __ATOMIC_RELEASE);
        break;
    default:
        __atomic_store_n((uint64_t *)p, bits, __ATOMIC_RELEASE);
    }
}

/* Store a number in private memory, or in a slot that nobody reads yet. It need not be aligned. */
static inline void put_bits(char *p, int size, uint64_t bits)
{
    uint8_t one = (uint8_t)bits;
    uint16_t two = (uint16_t)bits;
    uint32_t four = (uint32_t)bits;
    switch (size) {
    case 1:
        memcpy(p, &one, 1);
        break;
    case 2:
        memcpy(p, &two, 2);
        break;
    case 4:
        memcpy(p, &four, 4);
        break;
    default:
        memcpy(p, &bits, 8);
    }
}

static inline int64_t sign_extended(uint64_t bits, int size)
{
    switch (size) {
    case 1:
        return (int8_t)bits;
    case 2:
        return (int16_t)bits;
    case 4:
        return (int32_t)bits;
    default:
        return (int64_t)bits;
    }
}

static inline uint64_t cut(uint64_t bits, int size)
{
    return size == 8 ? bits : bits & (((uint64_t)1 << 8 * size) - 1);
}

static inline PyObject *object_of(uint64_t bits, Number n)
{
    switch (n.kind) {
    case 's':
        return PyLong_FromLong(sign_extended(bits, n.size));
    case 'u':
        return PyLong_FromUnsignedLong(cut(bits, n.size));
    default:
        return PyFloat_FromDouble(float_of(bits, n.size));
    }
}

/* Handle: the base class of Mutex, and of the values with a lock. */

typedef struct {
    Py_ssize_t offset;
    Number number;
} Field;

typedef struct {
    PyObject_HEAD
    PyObject *mutex;      /* the Mutex of a value */
    Hold *hold;           /* the lock's; NULL: all verbs take the slow path */
    Number number;        /* of a number, or of an array's elements */
    char *data;           /* the number, or the first element */
    Py_ssize_t count;     /* elements, or bytes of a string; 0: not prepared */
    int writable;         /* the numbers can be written */
    char *slots[2];       /* of a published value */
    size_t capacity;      /* bytes of a slot */
    size_t full, end;     /* bytes of a struct, and those up to its end */
    PyObject *memory[2];  /* ctypes objects: the data, or the slots */
    PyObject *type, *copy; /* of a struct: its ctypes type, and type.from_buffer_copy */
    int plain;            /* objects of the type are made by ctypes' own tp_new */
    Field *fields;        /* of a struct of numbers, which a tuple can fill */
    Py_ssize_t nfields;
} Handle;

static PyTypeObject Handle_Type;

static int Handle_traverse(Handle *s, visitproc visit, void *arg)
{
    Py_VISIT(s->mutex);
    Py_VISIT(s->hold);
    Py_VISIT(s->memory[0]);
    Py_VISIT(s->memory[1]);
    Py_VISIT(s->type);
    Py_VISIT(s->copy);
    return 0;
}

static int Handle_clear(Handle *s)
{
    s->count = 0;
    s->nfields = 0;
    Py_CLEAR(s->mutex);
    Py_CLEAR(s->hold);
    Py_CLEAR(s->memory[0]);
    Py_CLEAR(s->memory[1]);
    Py_CLEAR(s->type);
    Py_CLEAR(s->copy);
    return 0;
}

static void Handle_dealloc(Handle *s)
{
    PyObject_GC_UnTrack(s);
    Handle_clear(s);
    PyMem_Free(s->fields);
    Py_TYPE(s)->tp_free((PyObject *)s);
}

static PyObject *get_mutex(Handle *s, void *Py_UNUSED(closure))
{
    if (s->mutex == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_mutex");
        return NULL;
    }
    Py_INCREF(s->mutex);
    return s->mutex;
}

static int set_hold(Handle *s, PyObject *hold, void *Py_UNUSED(closure))
{
    if (hold == NULL || !PyObject_TypeCheck(hold, &Hold_Type)) {
        PyErr_SetString(PyExc_TypeError, "_hold is a Hold");
        return -1;
    }
    Py_INCREF(hold);
    Py_XSETREF(s->hold, (Hold *)hold);
    return 0;
}

static int set_mutex(Handle *s, PyObject *mutex, void *Py_UNUSED(closure))
{
    if (mutex == NULL || !PyObject_TypeCheck(mutex, &Handle_Type) || ((Handle *)mutex)->hold == NULL) {
        PyErr_SetString(PyExc_TypeError, "_mutex is a Mutex");
        return -1;
    }
    Py_INCREF(mutex);
    Py_XSETREF(s->mutex, mutex);
    return set_hold(s, (PyObject *)((Handle *)mutex)->hold, NULL);
}

static PyObject *get_hold(Handle *s, void *Py_UNUSED(closure))
{
    if (s->hold == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_hold");
        return NULL;
    }
    Py_INCREF(s->hold);
    return (PyObject *)s->hold;
}

/* Return the address of an object's memory, and its length. */
static char *address_of(PyObject *x, Py_ssize_t *n)
{
    Py_buffer b;
    if (PyObject_GetBuffer(x, &b, PyBUF_SIMPLE) < 0)
        return NULL;
    char *p = b.buf;
    *n = b.len;
    PyBuffer_Release(&b); /* the memory of a ctypes object stays where it is */
    return p;
}

static void remember(PyObject **place, PyObject *x)
{
    Py_INCREF(x);
    Py_XSETREF(*place, x);
}

/* _at(memory, offset, count, code, size, writable): numbers in the memory of a ctypes
 * object, of a ctypes code and a size in bytes. Other types stay with the slow path. */
static PyObject *handle_at(Handle *s, PyObject *args)
{
    PyObject *obj;
    const char *code;
    Py_ssize_t offset, count, size, n;
    int writable;
    if (!PyArg_ParseTuple(args, "Onnznp:_at", &obj, &offset, &count, &code, &size, &writable))
        return NULL;
    Number number = number_of(code, size);
    if (number.kind == 0 || number.kind == '?' || s->count)
        Py_RETURN_NONE;
    char *p = address_of(obj, &n);
    if (p == NULL)
        return NULL;
    if (offset < 0 || offset > n || count < 1 || count > (n - offset) / size || ((uintptr_t)p + offset) % size) {
        PyErr_SetString(PyExc_ValueError, "the memory of a number is not aligned, or too short");
        return NULL;
    }
    remember(&s->memory[0], obj);
    s->number = number;
    s->data = p + offset;
    s->count = count;
    s->writable = writable;
    Py_RETURN_NONE;
}

static newfunc new_struct, new_array; /* of ctypes' Structure and Array */
static PyObject *no_arguments;

static int find_ctypes(void)
{
    PyObject *ctypes = PyImport_ImportModule("_ctypes");
    if (ctypes == NULL)
        return -1;
    PyObject *s = PyObject_GetAttrString(ctypes, "Structure"), *a = PyObject_GetAttrString(ctypes, "Array");
    if (s != NULL && a != NULL && PyType_Check(s) && PyType_Check(a)) {
        new_struct = ((PyTypeObject *)s)->tp_new;
        new_array = ((PyTypeObject *)a)->tp_new;
        no_arguments = PyTuple_New(0);
    }
    Py_XDECREF(s);
    Py_XDECREF(a);
    Py_DECREF(ctypes);
    return no_arguments == NULL ? -1 : 0;
}

/* Report whether objects of a type are made by ctypes' own tp_new, which runs no Python code. */
static int made_by_ctypes(PyObject *type)
{
    return PyType_Check(type) && (((PyTypeObject *)type)->tp_new == new_struct || ((PyTypeObject *)type)->tp_new == new_array);
}

static int slots_at(Handle *s, PyObject *slots, size_t least)
{
    Py_ssize_t n[2];
    for (int i = 0; i < 2; i++) {
        if (!PyTuple_CheckExact(slots) || PyTuple_GET_SIZE(slots) != 2) {
            PyErr_SetString(PyExc_TypeError, "two slots are needed");
            return -1;
        }
        PyObject *slot = PyTuple_GET_ITEM(slots, i);
        if ((s->slots[i] = address_of(slot, &n[i])) == NULL)
            return -1;
        remember(&s->memory[i], slot);
    }
    if (n[0] != n[1] || (size_t)n[0] < least) {
        PyErr_SetString(PyExc_ValueError, "the slots are too short");
        return -1;
    }
    s->capacity = n[0];
    return 0;
}

/* _text_at(slots, size): the slots of a string of up to size bytes. */
static PyObject *handle_text_at(Handle *s, PyObject *args)
{
    PyObject *slots;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "On:_text_at", &slots, &size))
        return NULL;
    if (s->count || s->hold == NULL)
        Py_RETURN_NONE;
    if (slots_at(s, slots, size) < 0)
        return NULL;
    s->count = size;
    Py_RETURN_NONE;
}

/* _struct_at(slots, type, size, end, fields): the slots of a struct. fields has the offset,
 * the ctypes code and the size of each field, if a tuple of numbers can fill the struct,
 * and is None otherwise. */
static PyObject *handle_struct_at(Handle *s, PyObject *args)
{
    PyObject *slots, *type, *fields;
    Py_ssize_t full, end;
    if (!PyArg_ParseTuple(args, "OOnnO:_struct_at", &slots, &type, &full, &end, &fields))
        return NULL;
    if (s->count || s->hold == NULL || full > INT32_MAX)
        Py_RETURN_NONE;
    if (end < 0 || full < end) {
        PyErr_SetString(PyExc_ValueError, "a struct ends before its size");
        return NULL;
    }
    if (slots_at(s, slots, full) < 0)
        return NULL;
    PyObject *copy = PyObject_GetAttrString(type, "from_buffer_copy");
    if (copy == NULL)
        return NULL;
    Py_XSETREF(s->copy, copy);
    remember(&s->type, type);
    s->plain = made_by_ctypes(type);
    s->full = full;
    s->end = end;
    if (PyTuple_CheckExact(fields) && s->fields == NULL && PyTuple_GET_SIZE(fields)) {
        Py_ssize_t n = PyTuple_GET_SIZE(fields);
        Field *f = PyMem_Calloc(n, sizeof(Field));
        if (f == NULL)
            return PyErr_NoMemory();
        s->fields = f; /* which frees it */
        for (Py_ssize_t i = 0; i < n; i++, f++) {
            const char *code;
            Py_ssize_t size;
            if (!PyArg_ParseTuple(PyTuple_GET_ITEM(fields, i), "nsn", &f->offset, &code, &size))
                return NULL;
            f->number = number_of(code, size);
            if (f->number.kind == 0 || f->offset < 0 || f->offset + size > end) {
                PyErr_SetString(PyExc_ValueError, "a field is outside its struct");
                return NULL;
            }
        }
        s->nfields = n;
    }
    s->count = 1;
    Py_RETURN_NONE;
}

/* The methods in Python that go on where a verb cannot. */

#define SLOW(name) \
    static PyObject *slow_##name##_name; \
    static inline PyObject *slow_##name(void *s, PyObject *a, PyObject *b) \
    { \
        return PyObject_CallMethodObjArgs((PyObject *)s, slow_##name##_name, a, b, NULL); \
    }

SLOW(enter)
SLOW(load)
SLOW(store)
SLOW(add)
SLOW(swap)
SLOW(update)
SLOW(compare_and_swap)
SLOW(getitem)
SLOW(setitem)
SLOW(edit)
SLOW(set)
SLOW(append)
SLOW(observe)
SLOW(and_)
SLOW(or_)

#define SELF ((Handle *)self)

static int two(const char *name, Py_ssize_t n)
{
    if (n == 2)
        return 1;
    PyErr_Format(PyExc_TypeError, "%s() takes exactly 2 arguments (%zd given)", name, n);
    return 0;
}

/* Mutex, and `with v:`. */

static inline int lock_fast(Hold *h)
{
    unsigned long me = this_thread();
    if (h == NULL)
        return 0;
    if (h->owner == 0) {
        if (!h->id || !cas_4(&h->cell->word, 0, h->id))
            return 0;
        h->owner = me;
        h->held = 1;
        return 1;
    }
    if (h->owner != me || !h->held)
        return 0;
    h->depth++;
    return 1;
}

static PyObject *lock_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (lock_fast(SELF->hold))
        Py_RETURN_TRUE;
    return slow_enter(self, NULL, NULL);
}

/* Do as __exit__ does. Return 0 if the slow path has to do it, and then nothing is changed. */
static inline int unlock_fast(Hold *h, int failed)
{
    if (h == NULL || !h->held || h->owner != this_thread() || (h->depth && h->taken >= h->depth))
        return 0;
    Cell *c = h->cell;
    if (!failed && !h->depth && !h->clear_mark && cas_4(&c->word, h->id, 0)) { /* the usual case */
        h->editing = 0;
        h->held = 0;
        open_gate(h);
        tell(c);
        return 1;
    }
    if (!h->depth && (load_4(&c->word) & OWNER_MASK) != h->id)
        return 0; /* another process has overwritten the word */
    if (failed) {
        h->clear_mark = 0;
        __atomic_store_n(&c->abandoned, 1, __ATOMIC_RELEASE);
    }
    if (h->depth) {
        if (h->editing > h->depth)
            h->editing = 0;
        h->depth--;
        return 1;
    }
    if (h->clear_mark) {
        /* While the lock is held: a process that dies before this store leaves the mark. */
        h->clear_mark = 0;
        __atomic_store_n(&c->abandoned, 0, __ATOMIC_RELEASE);
    }
    if (release_word(h) < 0)
        return 0;
    h->editing = 0;
    h->held = 0;
    open_gate(h);
    tell(c);
    return 1;
}

static PyObject *lock_exit(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    PyObject *kind = n ? args[0] : Py_None;
    if (n <= 3 && unlock_fast(SELF->hold, kind != Py_None))
        Py_RETURN_NONE;
    return PyObject_CallMethodObjArgs(
        self, slow_exit_name, kind, n > 1 ? args[1] : Py_None, n > 2 ? args[2] : Py_None, NULL);
}

static PyObject *lock_release(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (unlock_fast(SELF->hold, 0))
        Py_RETURN_NONE;
    return PyObject_CallMethodObjArgs(self, slow_exit_name, Py_None, Py_None, Py_None, NULL);
}

static PyObject *lock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    /* With more arguments than one, the slow path has to judge them. */
    if ((n == 0 || (n == 1 && PyBool_Check(args[0]))) && names == NULL && lock_fast(SELF->hold))
        Py_RETURN_TRUE;
    PyObject *slow = PyObject_GetAttrString(self, "_slow_acquire");
    if (slow == NULL)
        return NULL;
    PyObject *r = PyObject_Vectorcall(slow, args, n, names);
    Py_DECREF(slow);
    return r;
}

static PyObject *locked_get_lock(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return get_mutex(SELF, NULL);
}

/* A change that calls Python code between the lock and the unlock: update and edit. Other
 * threads run meanwhile, so it holds the lock as a with statement does, and notes in
 * editing that it is under way. */

/* Bring the lock back to the level that it had, and keep the exception. */
static PyObject *return_to(Handle *s, Py_ssize_t level)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *r = PyObject_CallMethod(s->mutex, "return_to", "n", level);
    if (r == NULL)
        PyErr_Clear(); /* of two exceptions in a row the first one counts; the next acquire cleans up */
    Py_XDECREF(r);
    PyErr_Restore(type, value, traceback);
    return NULL;
}

/* Raise the exception that a method of the Mutex returns. */
static void raise_of(Handle *s, const char *method)
{
    PyObject *e = PyObject_CallMethod(s->mutex, method, NULL);
    if (e != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(e), e);
    Py_XDECREF(e);
}

/* Take the lock, and note in *level what return_to needs. Return -1 with an exception, and
 * the lock as it was, if a change of the value by this thread is under way already. */
static int begin_change(Handle *s, Py_ssize_t *level)
{
    Hold *h = s->hold;
    *level = h->owner == this_thread() ? h->depth : -1;
    if (!lock_fast(h)) {
        PyObject *r = PyObject_CallMethod(s->mutex, "__enter__", NULL);
        if (r == NULL) {
            return_to(s, *level);
            return -1;
        }
        Py_DECREF(r);
    }
    if (h->editing) {
        raise_of(s, "overlap");
        return_to(s, *level);
        return -1;
    }
    h->editing = 1 + h->depth;
    return 0;
}

/* Report whether the thread still has the lock that begin_change has taken. */
static int still_changing(Hold *h, Py_ssize_t level)
{
    return h->owner == this_thread() && (h->held || h->depth) && h->editing == level + 2;
}

/* End what begin_change has begun. Return -1 with an exception. */
static int end_change(Handle *s, Py_ssize_t level)
{
    s->hold->editing = 0;
    if (unlock_fast(s->hold, 0))
        return 0;
    PyObject *r = PyObject_CallMethodObjArgs(s->mutex, slow_exit_name, Py_None, Py_None, Py_None, NULL);
    if (r == NULL) {
        return_to(s, level);
        return -1;
    }
    Py_DECREF(r);
    return 0;
}

/* Call the function of an update. Return NULL with an exception, and the lock as it was, if
 * the function raises, or has released the lock. */
static PyObject *call_update(Handle *s, PyObject *f, PyObject *x, Py_ssize_t level)
{
    PyObject *r = PyObject_CallFunctionObjArgs(f, x, NULL);
    if (r == NULL) {
        s->hold->clear_mark = 0; /* it did not return normally, so the abandoned mark stays */
        return return_to(s, level);
    }
    if (!still_changing(s->hold, level)) {
        Py_DECREF(r);
        raise_of(s, "lost");
        return return_to(s, level);
    }
    return r;
}

/* Value. */

/* Do as enter does, unless the memory is not this process's to write: then the slow path says so. */
static inline int enter_to_write(Handle *s)
{
    return s->writable ? enter(s->hold) : NOT_NOW;
}

#define NUMBER(s) ((s)->count == 1 && (s)->number.kind)

static PyObject *number_load(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (!NUMBER(SELF))
        return slow_load(self, NULL, NULL);
    return object_of(load_bits(SELF->data, SELF->number.size), SELF->number);
}

static PyObject *number_store(PyObject *self, PyObject *x)
{
    uint64_t bits;
    int how;
    if (!NUMBER(SELF) || !bits_of(x, SELF->number, &bits) || !(how = enter_to_write(SELF)))
        return slow_store(self, x, NULL);
    store_bits(SELF->data, SELF->number.size, bits);
    if (leave(SELF->hold, how, SELF->mutex) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Set the value of a property by a method that stores. */
static int set_by(PyObject *(*store)(PyObject *, PyObject *), PyObject *self, PyObject *x)
{
    if (x == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete the value");
        return -1;
    }
    PyObject *r = store(self, x);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

static PyObject *number_get(PyObject *self, void *Py_UNUSED(closure))
{
    return number_load(self, NULL);
}

static int number_set(PyObject *self, PyObject *x, void *Py_UNUSED(closure))
{
    return set_by(number_store, self, x);
}

/* Add to the number at p, and store the sum's bits there and in *sum. */
static void add_bits(char *p, Number n, uint64_t delta, double d, uint64_t *sum)
{
    uint64_t old = load_bits(p, n.size);
    *sum = n.kind == 'f' ? pattern_of(float_of(old, n.size) + d, n.size) : old + delta;
    store_bits(p, n.size, *sum);
}

/* Convert an addend: that of a float is added as a double, as Python does. */
static int addend(PyObject *x, Number n, uint64_t *bits, double *d)
{
    *bits = 0;
    *d = 0;
    return n.kind == 'f' ? as_double(x, d) : bits_of(x, n, bits);
}

static PyObject *number_add(PyObject *self, PyObject *x)
{
    uint64_t delta, sum;
    double d;
    int how;
    if (!NUMBER(SELF) || !addend(x, SELF->number, &delta, &d) || !(how = enter_to_write(SELF)))
        return slow_add(self, x, NULL);
    add_bits(SELF->data, SELF->number, delta, d, &sum);
    if (leave(SELF->hold, how, SELF->mutex) < 0)
        return NULL;
    return object_of(sum, SELF->number);
}

static PyObject *number_swap(PyObject *self, PyObject *x)
{
    uint64_t bits, old;
    int how;
    if (!NUMBER(SELF) || !bits_of(x, SELF->number, &bits) || !(how = enter_to_write(SELF)))
        return slow_swap(self, x, NULL);
    old = load_bits(SELF->data, SELF->number.size);
    store_bits(SELF->data, SELF->number.size, bits);
    if (leave(SELF->hold, how, SELF->mutex) < 0)
        return NULL;
    return object_of(old, SELF->number);
}

static PyObject *number_compare_and_swap(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    uint64_t old, bits;
    int how;
    if (!two("compare_and_swap", n))
        return NULL;
    if (!NUMBER(SELF) || !bits_of(args[0], SELF->number, &old) || !bits_of(args[1], SELF->number, &bits) ||
        !(how = enter_to_write(SELF)))
        return slow_compare_and_swap(self, args[0], args[1]);
    int same = load_bits(SELF->data, SELF->number.size) == cut(old, SELF->number.size);
    if (same)
        store_bits(SELF->data, SELF->number.size, bits);
    if (leave(SELF->hold, how, SELF->mutex) < 0)
        return NULL;
    return PyBool_FromLong(same);
}

/* Set the number by the ctypes object, which converts what bits_of does not. */
static int set_obj(PyObject *self, PyObject *x)
{
    PyObject *obj = PyObject_GetAttrString(self, "_obj");
    int r = obj == NULL ? -1 : PyObject_SetAttrString(obj, "value", x);
    Py_XDECREF(obj);
    return r;
}

static PyObject *number_update(PyObject *self, PyObject *f)
{
    Handle *s = SELF;
    uint64_t bits;
    Py_ssize_t level;
    if (!NUMBER(s) || !s->writable || s->hold == NULL)
        return slow_update(self, f, NULL);
    if (begin_change(s, &level) < 0)
        return NULL;
    PyObject *x = object_of(load_bits(s->data, s->number.size), s->number), *y;
    if (x == NULL)
        return return_to(s, level);
    y = call_update(s, f, x, level);
    Py_DECREF(x);
    if (y == NULL)
        return NULL;
    if (bits_of(y, s->number, &bits)) {
        store_bits(s->data, s->number.size, bits);
    } else if (set_obj(self, y) < 0) {
        Py_DECREF(y);
        s->hold->clear_mark = 0;
        return return_to(s, level);
    } else {
        bits = load_bits(s->data, s->number.size);
    }
    Py_DECREF(y);
    if (end_change(s, level) < 0)
        return NULL;
    return object_of(bits, s->number);
}

/* Array. */

/* Return the address of an element by its index, or NULL if the slow path has to judge it. */
static char *element(Handle *s, PyObject *index)
{
    if (!s->number.kind || !PyLong_CheckExact(index))
        return NULL;
    int overflow;
    long i = PyLong_AsLongAndOverflow(index, &overflow);
    if (i < 0)
        i += s->count;
    return overflow || i < 0 || i >= s->count ? NULL : s->data + i * s->number.size;
}

static PyObject *array_getitem(PyObject *self, PyObject *index)
{
    Handle *s = SELF;
    char *p = element(s, index);
    if (p != NULL)
        return object_of(load_bits(p, s->number.size), s->number);
    if (!s->number.kind || !PySlice_Check(index))
        return slow_getitem(self, index, NULL);
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(index, &start, &stop, &step) < 0)
        return NULL;
    Py_ssize_t n = PySlice_AdjustIndices(s->count, &start, &stop, step);
    PyObject *list = PyList_New(n);
    if (list == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *x = object_of(load_bits(s->data + (start + i * step) * s->number.size, s->number.size), s->number);
        if (x == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, i, x);
    }
    return list;
}

/* Set the elements of a slice. All are converted before the lock is taken. */
static PyObject *set_slice(PyObject *self, PyObject *index, PyObject *x)
{
    Handle *s = SELF;
    Py_ssize_t start, stop, step, size = s->number.size;
    if (PySlice_Unpack(index, &start, &stop, &step) < 0)
        return NULL;
    PyObject *r = NULL, *list = PyList_CheckExact(x) || PyTuple_CheckExact(x) ? x : NULL;
    if (list != NULL)
        Py_INCREF(list);
    else if ((list = PySequence_List(x)) == NULL)
        return NULL;
    Py_ssize_t n = PySlice_AdjustIndices(s->count, &start, &stop, step);
    uint64_t small[256], *bits = small;
    int how = NOT_NOW;
    if (PySequence_Fast_GET_SIZE(list) == n) {
        if (n > 256 && (bits = PyMem_New(uint64_t, n)) == NULL) {
            Py_DECREF(list);
            return PyErr_NoMemory();
        }
        PyObject **items = PySequence_Fast_ITEMS(list);
        Py_ssize_t i = 0;
        while (i < n && bits_of(items[i], s->number, &bits[i]))
            i++;
        if (i == n)
            how = enter_to_write(s);
    }
    if (how == NOT_NOW) {
        r = slow_setitem(self, index, list);
    } else {
        for (Py_ssize_t i = 0; i < n; i++)
            store_bits(s->data + (start + i * step) * size, size, bits[i]);
        if (leave(s->hold, how, s->mutex) == 0) {
            r = Py_None;
            Py_INCREF(r);
        }
    }
    if (bits != small)
        PyMem_Free(bits);
    Py_DECREF(list);
    return r;
}

static PyObject *array_setitem(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    uint64_t bits;
    int how;
    if (!two("__setitem__", n))
        return NULL;
    if (SELF->number.kind && PySlice_Check(args[0]))
        return set_slice(self, args[0], args[1]);
    char *p = element(SELF, args[0]);
    if (p == NULL || !bits_of(args[1], SELF->number, &bits) || !(how = enter_to_write(SELF)))
        return slow_setitem(self, args[0], args[1]);
    store_bits(p, SELF->number.size, bits);
    if (leave(SELF->hold, how, SELF->mutex) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *array_add(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    uint64_t delta, sum;
    double d;
    int how;
    if (!two("add", n))
        return NULL;
    char *p = element(SELF, args[0]);
    if (p == NULL || !addend(args[1], SELF->number, &delta, &d) || !(how = enter_to_write(SELF)))
        return slow_add(self, args[0], args[1]);
    add_bits(p, SELF->number, delta, d, &sum);
    if (leave(SELF->hold, how, SELF->mutex) < 0)
        return NULL;
    return object_of(sum, SELF->number);
}

/* Atomic. Its numbers are integers of 4 or 8 bytes, and it has no lock. */

enum atomic_operation { EXCHANGE, FETCH_ADD, FETCH_AND, FETCH_OR };

static inline uint64_t atomic_do(enum atomic_operation what, char *p, int size, uint64_t x)
{
    uint32_t *four = (uint32_t *)p;
    uint64_t *eight = (uint64_t *)p;
    switch (what) {
    case EXCHANGE:
        return size == 4 ? __atomic_exchange_n(four, (uint32_t)x, __ATOMIC_SEQ_CST) : __atomic_exchange_n(eight, x, __ATOMIC_SEQ_CST);
    case FETCH_ADD:
        return size == 4 ? __atomic_fetch_add(four, (uint32_t)x, __ATOMIC_SEQ_CST) : __atomic_fetch_add(eight, x, __ATOMIC_SEQ_CST);
    case FETCH_AND:
        return size == 4 ? __atomic_fetch_and(four, (uint32_t)x, __ATOMIC_SEQ_CST) : __atomic_fetch_and(eight, x, __ATOMIC_SEQ_CST);
    default:
        return size == 4 ? __atomic_fetch_or(four, (uint32_t)x, __ATOMIC_SEQ_CST) : __atomic_fetch_or(eight, x, __ATOMIC_SEQ_CST);
    }
}

/* Whether a verb of an Atomic can change the number here, to x. */
static inline int atomic_ready(Handle *s, PyObject *x, uint64_t *bits)
{
    return NUMBER(s) && s->writable && bits_of(x, s->number, bits);
}

static PyObject *atomic_load(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Handle *s = SELF;
    if (!NUMBER(s))
        return slow_load(self, NULL, NULL);
    return object_of(
        s->number.size == 4 ? __atomic_load_n((uint32_t *)s->data, __ATOMIC_SEQ_CST) : __atomic_load_n((uint64_t *)s->data, __ATOMIC_SEQ_CST),
        s->number);
}

static PyObject *atomic_store(PyObject *self, PyObject *x)
{
    uint64_t bits;
    if (!atomic_ready(SELF, x, &bits))
        return slow_store(self, x, NULL);
    atomic_do(EXCHANGE, SELF->data, SELF->number.size, bits);
    Py_RETURN_NONE;
}

static PyObject *atomic_get(PyObject *self, void *Py_UNUSED(closure))
{
    return atomic_load(self, NULL);
}

static int atomic_set(PyObject *self, PyObject *x, void *Py_UNUSED(closure))
{
    return set_by(atomic_store, self, x);
}

static PyObject *atomic_swap(PyObject *self, PyObject *x)
{
    uint64_t bits;
    if (!atomic_ready(SELF, x, &bits))
        return slow_swap(self, x, NULL);
    return object_of(atomic_do(EXCHANGE, SELF->data, SELF->number.size, bits), SELF->number);
}

static PyObject *atomic_add(PyObject *self, PyObject *x)
{
    uint64_t bits;
    if (!atomic_ready(SELF, x, &bits))
        return slow_add(self, x, NULL);
    return object_of(atomic_do(FETCH_ADD, SELF->data, SELF->number.size, bits) + bits, SELF->number);
}

static PyObject *atomic_and(PyObject *self, PyObject *x)
{
    uint64_t bits;
    if (!atomic_ready(SELF, x, &bits))
        return slow_and_(self, x, NULL);
    return object_of(atomic_do(FETCH_AND, SELF->data, SELF->number.size, bits), SELF->number);
}

static PyObject *atomic_or(PyObject *self, PyObject *x)
{
    uint64_t bits;
    if (!atomic_ready(SELF, x, &bits))
        return slow_or_(self, x, NULL);
    return object_of(atomic_do(FETCH_OR, SELF->data, SELF->number.size, bits), SELF->number);
}

static PyObject *atomic_compare_and_swap(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    Handle *s = SELF;
    uint64_t old, bits;
    if (!two("compare_and_swap", n))
        return NULL;
    if (!atomic_ready(s, args[0], &old) || !atomic_ready(s, args[1], &bits))
        return slow_compare_and_swap(self, args[0], args[1]);
    if (s->number.size == 4)
        return PyBool_FromLong(cas_4((uint32_t *)s->data, (uint32_t)old, (uint32_t)bits));
    return PyBool_FromLong(__atomic_compare_exchange_n((uint64_t *)s->data, &old, bits, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
}

/* Claim: the cell that this process has of a counter or a gauge. Claim in cells.py has the rest. */

typedef struct {
    PyObject_HEAD
    uint64_t *cell; /* its number; NULL: this process has none yet, or no plain one */
    PyObject *mine; /* the Mine in Python, or None */
} Claim;

static int Claim_traverse(Claim *c, visitproc visit, void *arg)
{
    Py_VISIT(c->mine);
    return 0;
}

static int Claim_clear(Claim *c)
{
    c->cell = NULL;
    Py_CLEAR(c->mine);
    return 0;
}

static void Claim_dealloc(Claim *c)
{
    PyObject_GC_UnTrack(c);
    Claim_clear(c);
    Py_TYPE(c)->tp_free((PyObject *)c);
}

static PyObject *Claim_get_mine(Claim *c, void *Py_UNUSED(closure))
{
    PyObject *mine = c->mine == NULL ? Py_None : c->mine;
    Py_INCREF(mine);
    return mine;
}

/* Set the Mine. Its attribute bits is the c_uint64 of its number. */
static int Claim_set_mine(Claim *c, PyObject *mine, void *Py_UNUSED(closure))
{
    char *p = NULL;
    Py_ssize_t n = 8;
    if (mine == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete mine");
        return -1;
    }
    if (mine != Py_None) {
        PyObject *bits = PyObject_GetAttrString(mine, "bits");
        if (bits == NULL)
            return -1;
        p = address_of(bits, &n); /* which the Mine keeps */
        Py_DECREF(bits);
        if (p == NULL)
            return -1;
        if (n != 8 || (uintptr_t)p % 8) {
            PyErr_SetString(PyExc_ValueError, "this is not the number of a cell");
            return -1;
        }
    }
    c->cell = NULL; /* before the old Mine goes */
    Py_INCREF(mine);
    Py_XSETREF(c->mine, mine);
    c->cell = (uint64_t *)p;
    return 0;
}

static PyGetSetDef Claim_getset[] = {
    {"mine", (getter)Claim_get_mine, (setter)Claim_set_mine, "The cell of this process, or None.", NULL},
    {NULL},
};

static PyTypeObject Claim_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "shm._native.Claim",
    .tp_basicsize = sizeof(Claim),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "What this process has of the cells of one value.",
    .tp_new = PyType_GenericNew,
    .tp_traverse = (traverseproc)Claim_traverse,
    .tp_clear = (inquiry)Claim_clear,
    .tp_dealloc = (destructor)Claim_dealloc,
    .tp_getset = Claim_getset,
};

/* _count_at(claim, code): the cell of a counter or a gauge, of integers or doubles of 8 bytes. */
static PyObject *handle_count_at(Handle *s, PyObject *args)
{
    PyObject *claim;
    const char *code;
    if (!PyArg_ParseTuple(args, "O!s:_count_at", &Claim_Type, &claim, &code))
        return NULL;
    Number number = number_of(code, 8);
    if (number.kind == 0 || s->count)
        Py_RETURN_NONE;
    remember(&s->memory[0], claim);
    s->number = number;
    s->count = 1;
    Py_RETURN_NONE;
}

/* Return the number of the cell that this process has claimed, or NULL. */
static inline uint64_t *claimed(Handle *s)
{
    return s->count ? ((Claim *)s->memory[0])->cell : NULL;
}

/* Add to the double at p, which other processes may change as well. */
static inline void add_double(uint64_t *p, double d)
{
    uint64_t old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
    while (!__atomic_compare_exchange_n(p, &old, pattern_of(float_of(old, 8) + d, 8), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
}

/* Other threads of the process do not come between, but other processes may add to the shared cell. */
static PyObject *count_add(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    uint64_t bits = 1, *p = claimed(SELF);
    double d = 1;
    if (p == NULL || n > 1 || names != NULL || (n == 1 && !addend(args[0], SELF->number, &bits, &d))) {
        PyObject *slow = PyObject_GetAttr(self, slow_add_name);
        if (slow == NULL)
            return NULL;
        PyObject *r = PyObject_Vectorcall(slow, args, n, names);
        Py_DECREF(slow);
        return r;
    }
    if (SELF->number.kind == 'f')
        add_double(p, d);
    else
        __atomic_fetch_add(p, bits, __ATOMIC_SEQ_CST);
    Py_RETURN_NONE;
}

#define BUCKETS 64 /* offset of the buckets of a histogram in a cell */

/* _observe_at(claim, bounds): the cell of a histogram, and its bounds, the bytes of doubles
 * that ascend. Each of its cells has one bucket more than there are bounds. */
static PyObject *handle_observe_at(Handle *s, PyObject *args)
{
    PyObject *claim, *bounds;
    if (!PyArg_ParseTuple(args, "O!S:_observe_at", &Claim_Type, &claim, &bounds))
        return NULL;
    if (s->count || PyBytes_GET_SIZE(bounds) < 8)
        Py_RETURN_NONE;
    remember(&s->memory[0], claim);
    remember(&s->memory[1], bounds);
    s->count = PyBytes_GET_SIZE(bounds) / 8;
    Py_RETURN_NONE;
}

static PyObject *histogram_observe(PyObject *self, PyObject *x)
{
    uint64_t *p = claimed(SELF);
    double d, bound;
    if (p == NULL || !as_double(x, &d))
        return slow_observe(self, x, NULL);
    const char *bounds = PyBytes_AS_STRING(SELF->memory[1]);
    Py_ssize_t low = 0, high = SELF->count;
    while (low < high) {
        Py_ssize_t middle = low + (high - low) / 2;
        memcpy(&bound, bounds + 8 * middle, 8);
        if (d <= bound)
            high = middle;
        else
            low = middle + 1; /* also of NaN, which comes behind the last bound */
    }
    add_double(p, d);
    __atomic_fetch_add((uint64_t *)((char *)p + BUCKETS) + low, 1, __ATOMIC_SEQ_CST);
    Py_RETURN_NONE;
}

static PyObject *count_set(PyObject *self, PyObject *x)
{
    uint64_t bits, *p = claimed(SELF);
    if (p == NULL || !bits_of(x, SELF->number, &bits))
        return slow_set(self, x, NULL);
    __atomic_store_n(p, bits, __ATOMIC_RELEASE);
    Py_RETURN_NONE;
}

/* String and Struct. */

static inline uint64_t load_commit(Handle *s)
{
    return __atomic_load_n(&s->hold->cell->commit, __ATOMIC_ACQUIRE);
}

/* Publish what stands in the idle slot. The caller holds the lock. */
static inline void commit(Handle *s, uint64_t count)
{
    __atomic_store_n(&s->hold->cell->commit, count + 1, __ATOMIC_RELEASE);
    /* The holder may commit again before it unlocks. The fence keeps the stores of that
     * commit after this one. */
    FENCE();
}

static PyObject *string_load(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Handle *s = SELF;
    char small[512], *to = small;
    PyObject *text = NULL;
    if (!s->count)
        return slow_load(self, NULL, NULL);
    size_t size = s->count;
    if (size > sizeof small) {
        if ((text = PyBytes_FromStringAndSize(NULL, size)) == NULL)
            return NULL;
        to = PyBytes_AS_STRING(text);
    }
    for (int i = 0; i < MAX_TRIES; i++) {
        uint64_t count = load_commit(s);
        memcpy(to, s->slots[count & 1], size);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (load_commit(s) != count)
            continue;
        char *nul = memchr(to, 0, size);
        size_t n = nul ? (size_t)(nul - to) : size;
        if (text == NULL)
            return PyBytes_FromStringAndSize(to, n);
        if (n < size)
            _PyBytes_Resize(&text, n);
        return text;
    }
    Py_XDECREF(text);
    return slow_load(self, NULL, NULL);
}

static PyObject *string_store(PyObject *self, PyObject *text)
{
    Handle *s = SELF;
    const char *from = NULL;
    Py_ssize_t n = 0;
    int how;
    if (PyBytes_CheckExact(text)) {
        from = PyBytes_AS_STRING(text);
        n = PyBytes_GET_SIZE(text);
    } else if (PyUnicode_CheckExact(text) && (from = PyUnicode_AsUTF8AndSize(text, &n)) == NULL) {
        PyErr_Clear(); /* the slow path raises it again */
    }
    if (from == NULL || !s->count || n > s->count || memchr(from, 0, n) || !(how = enter(s->hold)))
        return slow_store(self, text, NULL);
    uint64_t count = load_commit(s);
    char *idle = s->slots[(count + 1) & 1];
    memcpy(idle, from, n);
    if ((size_t)n < s->capacity)
        idle[n] = 0;
    commit(s, count);
    if (leave(s->hold, how, s->mutex) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *string_get(PyObject *self, void *Py_UNUSED(closure))
{
    return string_load(self, NULL);
}

static int string_set(PyObject *self, PyObject *x, void *Py_UNUSED(closure))
{
    return set_by(string_store, self, x);
}

/* Return an object of the struct's type with a copy of a slot. As from_buffer_copy does, it
 * calls no __init__. */
static PyObject *copy_of(Handle *s, int slot)
{
    if (!s->plain)
        return PyObject_CallFunctionObjArgs(s->copy, s->memory[slot], NULL);
    Py_ssize_t n;
    PyObject *x = ((PyTypeObject *)s->type)->tp_new((PyTypeObject *)s->type, no_arguments, NULL);
    char *to = x == NULL ? NULL : address_of(x, &n);
    if (to == NULL) {
        Py_XDECREF(x);
        return NULL;
    }
    memcpy(to, s->slots[slot], (size_t)n < s->full ? (size_t)n : s->full);
    return x;
}

static PyObject *struct_load(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Handle *s = SELF;
    for (int i = 0; s->count && i < MAX_TRIES; i++) {
        uint64_t count = load_commit(s);
        PyObject *x = copy_of(s, count & 1);
        if (x == NULL)
            return NULL;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (load_commit(s) == count)
            return x;
        Py_DECREF(x);
    }
    return slow_load(self, NULL, NULL);
}

/* Prepare a commit of the struct; return the idle slot, in which the program's own fields
 * are still to be written. The caller holds the lock. */
static char *idle_slot(Handle *s, uint64_t *count)
{
    uint32_t *extent = &s->hold->cell->extent, e = load_4(extent);
    while (e < s->full && !cas_4(extent, e, (uint32_t)s->full))
        e = load_4(extent);
    if (e < s->full)
        e = (uint32_t)s->full;
    size_t carry = e < s->capacity ? e : s->capacity;
    *count = load_commit(s);
    char *old = s->slots[*count & 1], *idle = s->slots[(*count + 1) & 1];
    if (carry > s->end)
        memcpy(idle + s->end, old + s->end, carry - s->end);
    return idle;
}

#define MAX_FIELDS 64

static PyObject *struct_store(PyObject *self, PyObject *x)
{
    Handle *s = SELF;
    uint64_t bits[MAX_FIELDS], count;
    Py_ssize_t n = 0, given = 0;
    const char *from = NULL;
    int how = NOT_NOW;
    if (s->count && (PyObject *)Py_TYPE(x) == s->type) {
        if ((from = address_of(x, &n)) == NULL)
            return NULL;
        if ((size_t)n == s->full)
            how = enter(s->hold);
    } else if (s->count && PyTuple_CheckExact(x) && s->nfields && (given = PyTuple_GET_SIZE(x)) <= s->nfields &&
               given <= MAX_FIELDS) {
        while (n < given && bits_of(PyTuple_GET_ITEM(x, n), s->fields[n].number, &bits[n]))
            n++;
        if (n == given)
            how = enter(s->hold);
    }
    if (how == NOT_NOW)
        return slow_store(self, x, NULL);
    char *idle = idle_slot(s, &count);
    if (from != NULL) {
        memcpy(idle, from, s->end);
    } else {
        memset(idle, 0, s->end);
        for (Py_ssize_t i = 0; i < given; i++)
            put_bits(idle + s->fields[i].offset, s->fields[i].number.size, bits[i]);
    }
    commit(s, count);
    if (leave(s->hold, how, s->mutex) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Ring. */

/* _ring_at(memory, offset, count, stride, type, size, code): the slots of a ring that keeps
 * count values of a ctypes type: a number of that code, or with None any other type. */
static PyObject *handle_ring_at(Handle *s, PyObject *args)
{
    PyObject *memory, *type;
    Py_ssize_t offset, count, stride, size, n;
    const char *code;
    if (!PyArg_ParseTuple(args, "OnnnOnz:_ring_at", &memory, &offset, &count, &stride, &type, &size, &code))
        return NULL;
    Number number = number_of(code, size);
    if (s->count || s->hold == NULL || (code != NULL && (number.kind == 0 || number.kind == '?')))
        Py_RETURN_NONE;
    char *p = address_of(memory, &n);
    if (p == NULL)
        return NULL;
    if (offset < 0 || offset > n || size < 1 || size > stride || count < 1 || count >= (n - offset) / stride) {
        PyErr_SetString(PyExc_ValueError, "the slots of a ring are outside its memory");
        return NULL;
    }
    remember(&s->memory[0], memory);
    remember(&s->type, type);
    s->plain = made_by_ctypes(type);
    s->number = number;
    s->data = p + offset;
    s->capacity = stride;
    s->full = size;
    s->count = count;
    Py_RETURN_NONE;
}

static PyObject *ring_append(PyObject *self, PyObject *x)
{
    Handle *s = SELF;
    uint64_t bits = 0;
    Py_ssize_t n = 0;
    const char *from = NULL;
    int how = NOT_NOW;
    if (s->count && s->number.kind) {
        if (bits_of(x, s->number, &bits))
            how = enter(s->hold);
    } else if (s->count && (PyObject *)Py_TYPE(x) == s->type) {
        if ((from = address_of(x, &n)) == NULL)
            return NULL;
        if ((size_t)n == s->full)
            how = enter(s->hold);
    }
    if (how == NOT_NOW)
        return slow_append(self, x, NULL);
    uint64_t seq = load_commit(s);
    /* There is one slot more than values that are kept, so no reader may be told of this one. */
    char *slot = s->data + seq % ((uint64_t)s->count + 1) * s->capacity;
    if (from != NULL)
        memcpy(slot, from, s->full);
    else
        put_bits(slot, s->number.size, bits);
    commit(s, seq);
    if (leave(s->hold, how, s->mutex) < 0)
        return NULL;
    return PyLong_FromUnsignedLongLong(seq + 1);
}

/* Reader: the base class of RingReader. It has the number of the value that it reads next,
 * and how many it has missed. */

typedef struct {
    PyObject_HEAD
    Handle *ring;
    uint64_t seq, missed;
} Reader;

static int Reader_traverse(Reader *r, visitproc visit, void *arg)
{
    Py_VISIT(r->ring);
    return 0;
}

static int Reader_clear(Reader *r)
{
    Py_CLEAR(r->ring);
    return 0;
}

static void Reader_dealloc(Reader *r)
{
    PyObject_GC_UnTrack(r);
    Reader_clear(r);
    Py_TYPE(r)->tp_free((PyObject *)r);
}

static PyObject *Reader_get_ring(Reader *r, void *Py_UNUSED(closure))
{
    if (r->ring == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_ring");
        return NULL;
    }
    Py_INCREF(r->ring);
    return (PyObject *)r->ring;
}

static int Reader_set_ring(Reader *r, PyObject *ring, void *Py_UNUSED(closure))
{
    if (ring == NULL || !PyObject_TypeCheck(ring, &Handle_Type)) {
        PyErr_SetString(PyExc_TypeError, "_ring is a Ring");
        return -1;
    }
    Py_INCREF(ring);
    Py_XSETREF(r->ring, (Handle *)ring);
    return 0;
}

static PyObject *Reader_get_at(Reader *r, void *Py_UNUSED(closure))
{
    return Py_BuildValue("KK", (unsigned long long)r->seq, (unsigned long long)r->missed);
}

static int Reader_set_at(Reader *r, PyObject *at, void *Py_UNUSED(closure))
{
    if (at == NULL || !PyTuple_CheckExact(at) || PyTuple_GET_SIZE(at) != 2 || !PyLong_Check(PyTuple_GET_ITEM(at, 0)) ||
        !PyLong_Check(PyTuple_GET_ITEM(at, 1))) {
        PyErr_SetString(PyExc_TypeError, "_at is a pair of integers");
        return -1;
    }
    r->seq = PyLong_AsUnsignedLongLongMask(PyTuple_GET_ITEM(at, 0));
    r->missed = PyLong_AsUnsignedLongLongMask(PyTuple_GET_ITEM(at, 1));
    return 0;
}

static PyGetSetDef Reader_getset[] = {
    {"_ring", (getter)Reader_get_ring, (setter)Reader_set_ring, NULL, NULL},
    {"_at", (getter)Reader_get_at, (setter)Reader_set_at, NULL, NULL},
    {NULL},
};

static PyTypeObject Reader_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "shm._native.Reader",
    .tp_basicsize = sizeof(Reader),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "The base class of RingReader.",
    .tp_new = PyType_GenericNew,
    .tp_traverse = (traverseproc)Reader_traverse,
    .tp_clear = (inquiry)Reader_clear,
    .tp_dealloc = (destructor)Reader_dealloc,
    .tp_getset = Reader_getset,
};

/* Return an object with a copy of the value at p. */
static PyObject *ring_copy(Handle *s, const char *p)
{
    if (s->number.kind) {
        uint64_t bits = 0;
        uint8_t one;
        uint16_t two;
        uint32_t four;
        switch (s->number.size) { /* a value of another program need not be aligned as ours are */
        case 1:
            memcpy(&one, p, 1);
            bits = one;
            break;
        case 2:
            memcpy(&two, p, 2);
            bits = two;
            break;
        case 4:
            memcpy(&four, p, 4);
            bits = four;
            break;
        default:
            memcpy(&bits, p, 8);
        }
        return object_of(bits, s->number);
    }
    Py_ssize_t n;
    PyObject *x = ((PyTypeObject *)s->type)->tp_new((PyTypeObject *)s->type, no_arguments, NULL);
    char *to = x == NULL ? NULL : address_of(x, &n);
    if (to == NULL) {
        Py_XDECREF(x);
        return NULL;
    }
    memcpy(to, p, (size_t)n < s->full ? (size_t)n : s->full);
    return x;
}

/* Whether a ring has a value, and still keeps it. */
static int ring_keeps(Handle *s, uint64_t seq)
{
    uint64_t newest = load_commit(s);
    return seq <= newest && newest - seq < (uint64_t)s->count;
}

/* Whether next has just a timeout, or nothing: the value may be there, and then it does not matter. */
static int only_timeout(Py_ssize_t n, PyObject *names)
{
    if (names == NULL)
        return n <= 1;
    return n == 0 && PyTuple_GET_SIZE(names) == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "timeout") == 0;
}

static PyObject *reader_next(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Reader *r = (Reader *)self;
    Handle *s = r->ring;
    if (s != NULL && s->count && (s->number.kind || s->plain) && only_timeout(n, names)) {
        uint64_t seq = r->seq;
        if (seq && ring_keeps(s, seq)) {
            PyObject *x = ring_copy(s, s->data + (seq - 1) % ((uint64_t)s->count + 1) * s->capacity);
            if (x == NULL)
                return NULL;
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
            if (ring_keeps(s, seq) && r->seq == seq) {
                PyObject *number = PyLong_FromUnsignedLongLong(seq), *pair = number == NULL ? NULL : PyTuple_Pack(2, x, number);
                Py_XDECREF(number);
                Py_DECREF(x);
                if (pair != NULL)
                    r->seq = seq + 1;
                return pair;
            }
            Py_DECREF(x);
        }
    }
    PyObject *slow = PyObject_GetAttrString(self, "_slow_next");
    if (slow == NULL)
        return NULL;
    PyObject *x = PyObject_Vectorcall(slow, args, n, names);
    Py_DECREF(slow);
    return x;
}

static PyObject *struct_get(PyObject *self, void *Py_UNUSED(closure))
{
    return struct_load(self, NULL);
}

static int struct_set(PyObject *self, PyObject *x, void *Py_UNUSED(closure))
{
    return set_by(struct_store, self, x);
}

/* The with statement of Struct.edit. */

typedef struct {
    PyObject_HEAD
    Handle *of;       /* the struct */
    PyObject *copy;   /* what the block changes; NULL outside of it */
    Py_ssize_t level; /* of the lock before the block, see Hold.level */
} Edit;

static PyTypeObject Edit_Type;

static int Edit_traverse(Edit *e, visitproc visit, void *arg)
{
    Py_VISIT(e->of);
    Py_VISIT(e->copy);
    return 0;
}

static int Edit_clear(Edit *e)
{
    Py_CLEAR(e->copy);
    return 0; /* the struct has no reference to this */
}

static Edit *spare; /* one that is not in use, so that most edits allocate none */

static void Edit_dealloc(Edit *e)
{
    PyObject_GC_UnTrack(e);
    Handle *of = e->of;
    Py_CLEAR(e->copy);
    e->of = NULL;
    if (spare == NULL)
        spare = e;
    else
        PyObject_GC_Del(e);
    Py_XDECREF(of);
}

static PyObject *struct_edit(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (!SELF->count)
        return slow_edit(self, NULL, NULL);
    Edit *e = spare;
    spare = NULL;
    if (e != NULL)
        PyObject_Init((PyObject *)e, &Edit_Type);
    else if ((e = PyObject_GC_New(Edit, &Edit_Type)) == NULL)
        return NULL;
    Py_INCREF(self);
    e->of = SELF;
    e->copy = NULL;
    e->level = -1;
    PyObject_GC_Track(e);
    return (PyObject *)e;
}

/* Report, with an exception, whether the garbage collector has taken the struct apart. */
static int taken_apart(Handle *s)
{
    if (s->count)
        return 0;
    PyErr_SetString(PyExc_ReferenceError, "the struct is being destroyed");
    return 1;
}

static PyObject *Edit_enter(Edit *e, PyObject *Py_UNUSED(ignored))
{
    Handle *s = e->of;
    Py_ssize_t level;
    if (taken_apart(s) || begin_change(s, &level) < 0)
        return NULL;
    PyObject *x = copy_of(s, load_commit(s) & 1);
    if (x == NULL)
        return return_to(s, level);
    Py_INCREF(x);
    Py_XSETREF(e->copy, x);
    e->level = level;
    return x;
}

static PyObject *Edit_exit(Edit *e, PyObject *const *args, Py_ssize_t nargs)
{
    Handle *s = e->of;
    PyObject *x = e->copy;
    if (taken_apart(s))
        return NULL;
    e->copy = NULL;
    if (x == NULL || !still_changing(s->hold, e->level)) {
        raise_of(s, "lost");
        if (x == NULL)
            return NULL;
        Py_DECREF(x);
        return return_to(s, e->level);
    }
    if (nargs == 0 || args[0] == Py_None) {
        Py_ssize_t n;
        uint64_t count;
        char *from = address_of(x, &n);
        if (from == NULL || (size_t)n < s->end) {
            if (from != NULL)
                PyErr_SetString(PyExc_ValueError, "the copy of the struct has become shorter");
            Py_DECREF(x);
            return return_to(s, e->level);
        }
        memcpy(idle_slot(s, &count), from, s->end);
        commit(s, count);
    } else {
        s->hold->clear_mark = 0; /* the block did not end normally, so the abandoned mark stays */
    }
    int failed = end_change(s, e->level);
    Py_DECREF(x);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *struct_update(PyObject *self, PyObject *f)
{
    Handle *s = SELF;
    Py_ssize_t level, n;
    uint64_t count;
    if (!s->count)
        return slow_update(self, f, NULL);
    if (begin_change(s, &level) < 0)
        return NULL;
    PyObject *x = copy_of(s, load_commit(s) & 1);
    if (x == NULL)
        return return_to(s, level);
    PyObject *r = call_update(s, f, x, level);
    if (r == NULL) {
        Py_DECREF(x);
        return NULL;
    }
    Py_DECREF(r);
    char *from = address_of(x, &n);
    if (from == NULL || (size_t)n < s->end) {
        if (from != NULL)
            PyErr_SetString(PyExc_ValueError, "the copy of the struct has become shorter");
        Py_DECREF(x);
        return return_to(s, level);
    }
    memcpy(idle_slot(s, &count), from, s->end);
    commit(s, count);
    int failed = end_change(s, level);
    Py_DECREF(x);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef Edit_methods[] = {
    {"__enter__", (PyCFunction)Edit_enter, METH_NOARGS, "Take the lock; return a copy."},
    {"__exit__", (PyCFunction)(void (*)(void))Edit_exit, METH_FASTCALL, "Commit the copy, and release the lock."},
    {NULL},
};

static PyTypeObject Edit_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "shm._native.Edit",
    .tp_basicsize = sizeof(Edit),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "The with statement of Struct.edit.",
    .tp_traverse = (traverseproc)Edit_traverse,
    .tp_clear = (inquiry)Edit_clear,
    .tp_dealloc = (destructor)Edit_dealloc,
    .tp_methods = Edit_methods,
};

/* native.compiled gives the verb KIND_VERB to the class that is decorated with the kind. */

#define FAST(f) (PyCFunction)(void (*)(void))f

static PyMethodDef Handle_methods[] = {
    {"_at", (PyCFunction)handle_at, METH_VARARGS, NULL},
    {"_text_at", (PyCFunction)handle_text_at, METH_VARARGS, NULL},
    {"_struct_at", (PyCFunction)handle_struct_at, METH_VARARGS, NULL},
    {"_ring_at", (PyCFunction)handle_ring_at, METH_VARARGS, NULL},
    {"_count_at", (PyCFunction)handle_count_at, METH_VARARGS, NULL},
    {"_observe_at", (PyCFunction)handle_observe_at, METH_VARARGS, NULL},
    {NULL},
};

static PyGetSetDef Handle_getset[] = {
    {"_mutex", (getter)get_mutex, (setter)set_mutex, NULL, NULL},
    {"_hold", (getter)get_hold, (setter)set_hold, NULL, NULL},
    {NULL},
};

/* The verbs are no methods of Handle itself: there any handle would have them, and each
 * relies on what the handles of its kind have. */
static PyMethodDef verb_methods[] = {
    {"lock_enter", lock_enter, METH_NOARGS, NULL},
    {"lock_exit", FAST(lock_exit), METH_FASTCALL, NULL},
    {"lock_acquire", FAST(lock_acquire), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"lock_release", lock_release, METH_NOARGS, NULL},
    {"locked_enter", lock_enter, METH_NOARGS, NULL},
    {"locked_exit", FAST(lock_exit), METH_FASTCALL, NULL},
    {"locked_get_lock", locked_get_lock, METH_NOARGS, NULL},
    {"number_load", number_load, METH_NOARGS, NULL},
    {"number_store", number_store, METH_O, NULL},
    {"number_add", number_add, METH_O, NULL},
    {"number_swap", number_swap, METH_O, NULL},
    {"number_update", number_update, METH_O, NULL},
    {"number_compare_and_swap", FAST(number_compare_and_swap), METH_FASTCALL, NULL},
    {"array_getitem", array_getitem, METH_O, NULL},
    {"array_setitem", FAST(array_setitem), METH_FASTCALL, NULL},
    {"array_load", array_getitem, METH_O, NULL},
    {"array_store", FAST(array_setitem), METH_FASTCALL, NULL},
    {"array_add", FAST(array_add), METH_FASTCALL, NULL},
    {"ring_append", ring_append, METH_O, NULL},
    {"atomic_load", atomic_load, METH_NOARGS, NULL},
    {"atomic_store", atomic_store, METH_O, NULL},
    {"atomic_swap", atomic_swap, METH_O, NULL},
    {"atomic_add", atomic_add, METH_O, NULL},
    {"atomic_and_", atomic_and, METH_O, NULL},
    {"atomic_or_", atomic_or, METH_O, NULL},
    {"atomic_compare_and_swap", FAST(atomic_compare_and_swap), METH_FASTCALL, NULL},
    {"counter_add", FAST(count_add), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"gauge_add", FAST(count_add), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"histogram_observe", histogram_observe, METH_O, NULL},
    {"gauge_set", count_set, METH_O, NULL},
    {"string_load", string_load, METH_NOARGS, NULL},
    {"string_store", string_store, METH_O, NULL},
    {"struct_load", struct_load, METH_NOARGS, NULL},
    {"struct_store", struct_store, METH_O, NULL},
    {"struct_edit", struct_edit, METH_NOARGS, NULL},
    {"struct_update", struct_update, METH_O, NULL},
    {NULL},
};

static PyGetSetDef verb_getset[] = {
    {"atomic_value", atomic_get, atomic_set, NULL, NULL},
    {"number_value", number_get, number_set, NULL, NULL},
    {"string_value", string_get, string_set, NULL, NULL},
    {"struct_value", struct_get, struct_set, NULL, NULL},
    {NULL},
};

static PyMethodDef reader_methods[] = {
    {"reader_next", FAST(reader_next), METH_FASTCALL | METH_KEYWORDS, NULL},
    {NULL},
};

static PyTypeObject Handle_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "shm._native.Handle",
    .tp_basicsize = sizeof(Handle),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "The base class of Mutex, and of the values with a lock.",
    .tp_new = PyType_GenericNew,
    .tp_traverse = (traverseproc)Handle_traverse,
    .tp_clear = (inquiry)Handle_clear,
    .tp_dealloc = (destructor)Handle_dealloc,
    .tp_methods = Handle_methods,
    .tp_getset = Handle_getset,
};

/* The text that tell(name) returns, or NULL with an exception. It is never freed, as a class keeps it. */
static char *told(PyObject *tell, const char *name)
{
    PyObject *text = PyObject_CallFunction(tell, "s", name);
    const char *utf8 = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    char *copy = utf8 == NULL ? NULL : strdup(utf8);
    if (utf8 != NULL && copy == NULL)
        PyErr_NoMemory();
    Py_XDECREF(text);
    return copy;
}

/* The verb of a class with the name, the signature and the docstring that tell has of it, or NULL with an exception. */
static PyObject *told_method(PyTypeObject *cls, const PyMethodDef *verb, const char *name, PyObject *tell)
{
    char *text = told(tell, name);
    if (text == NULL)
        return NULL;
    PyMethodDef *m = malloc(sizeof *m);
    char *public = strndup(text, strcspn(text, "("));
    if (m == NULL || public == NULL) {
        free(m), free(public), free(text);
        return PyErr_NoMemory();
    }
    *m = *verb;
    m->ml_name = public;
    m->ml_doc = text;
    return PyDescr_NewMethod(cls, m);
}

/* The same for a property. */
static PyObject *told_property(PyTypeObject *cls, const PyGetSetDef *verb, const char *name, PyObject *tell)
{
    char *text = told(tell, name);
    if (text == NULL)
        return NULL;
    PyGetSetDef *g = malloc(sizeof *g);
    if (g == NULL) {
        free(text);
        return PyErr_NoMemory();
    }
    *g = *verb;
    g->name = name;
    g->doc = text;
    return PyDescr_NewGetSet(cls, g);
}

/* verbs(cls, kind, tell): the verbs of a kind for a subclass of Handle or Reader, by their names.
 * tell(name) returns the signature and the docstring of one, or the docstring of a property.
 * They belong to the class itself, as CPython calls a method of the object's own class
 * faster. CPython calls none of them for an object of another class. */
static PyObject *native_verbs(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyTypeObject *cls;
    const char *kind;
    PyObject *tell;
    if (!PyArg_ParseTuple(args, "O!sO:verbs", &PyType_Type, &cls, &kind, &tell))
        return NULL;
    int reader = PyType_IsSubtype(cls, &Reader_Type);
    if (!reader && !PyType_IsSubtype(cls, &Handle_Type)) {
        PyErr_SetString(PyExc_TypeError, "verbs are for a subclass of Handle or Reader");
        return NULL;
    }
    size_t n = strlen(kind);
    PyObject *found = PyDict_New();
    for (PyMethodDef *m = reader ? reader_methods : verb_methods; found != NULL && m->ml_name != NULL; m++) {
        if (strncmp(m->ml_name, kind, n) || m->ml_name[n] != '_')
            continue;
        PyObject *verb = told_method(cls, m, m->ml_name + n + 1, tell);
        if (verb == NULL || PyDict_SetItemString(found, m->ml_name + n + 1, verb) < 0)
            Py_CLEAR(found);
        Py_XDECREF(verb);
    }
    for (PyGetSetDef *g = verb_getset; found != NULL && !reader && g->name != NULL; g++) {
        if (strncmp(g->name, kind, n) || g->name[n] != '_')
            continue;
        PyObject *verb = told_property(cls, g, g->name + n + 1, tell);
        if (verb == NULL || PyDict_SetItemString(found, g->name + n + 1, verb) < 0)
            Py_CLEAR(found);
        Py_XDECREF(verb);
    }
    return found;
}

/* The look-up of a name. */

static uint32_t crc_table[256];

static void make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
        crc_table[i] = c;
    }
}

/* Continue a CRC-32, which starts as 0. */
static uint32_t crc_32(uint32_t crc, const unsigned char *p, size_t n)
{
    for (crc = ~crc; n; n--)
        crc = crc_table[(crc ^ *p++) & 0xff] ^ crc >> 8;
    return ~crc;
}

#define RECORD_FIXED 112 /* bytes of a record before its texts */
#define RECORD_READ 1024 /* bytes that one read takes for a record */
#define LOOK_SLOTS 8

static uint16_t u16_at(const unsigned char *p)
{
    uint16_t n;
    memcpy(&n, p, 2);
    return n;
}

static uint32_t u32_at(const unsigned char *p)
{
    uint32_t n;
    memcpy(&n, p, 4);
    return n;
}

/* read_some(fd, to, n, offset, wait): pread. Only a read that may wait for a disk releases the GIL. */
static ssize_t read_some(int fd, void *to, size_t n, off_t offset, int wait)
{
    ssize_t got;
    if (!wait)
        return pread(fd, to, n, offset);
    Py_BEGIN_ALLOW_THREADS
    got = pread(fd, to, n, offset);
    Py_END_ALLOW_THREADS
    return got;
}

/* look(fd, slots, mask, name, wait): look for a name in a copy of a few slots of the index
 * whose slots start at that offset. Return the offset of the record, and a copy of its
 * bytes up to its data, whose checksum is right; or None if the directory has to search. */
static PyObject *native_look(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd, wait;
    unsigned long long slots, mask;
    const char *name;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(args, "iKKy#p:look", &fd, &slots, &mask, &name, &n, &wait))
        return NULL;
    uint64_t tag = (crc_32(0, (const unsigned char *)name, n) * 0x9e3779b1u & 0xffffffffu) >> 8;
    uint64_t first = tag & mask, words[LOOK_SLOTS];
    unsigned char b[RECORD_READ];
    if (n > 255 || first + LOOK_SLOTS > mask ||
        read_some(fd, words, sizeof words, (off_t)(slots + 8 * first), wait) != sizeof words)
        Py_RETURN_NONE;
    for (int i = 0; i < LOOK_SLOTS && words[i]; i++) {
        if (words[i] >> 40 != tag)
            continue;
        off_t start = (off_t)((words[i] & 0xffffffffffu) * 64);
        ssize_t got = read_some(fd, b, sizeof b, start, wait);
        if (got < RECORD_FIXED || got < RECORD_FIXED + n || u16_at(b + 42) != n || memcmp(b + RECORD_FIXED, name, n))
            continue;
        uint32_t length = u32_at(b + 8);
        if (length < RECORD_FIXED || length > got || crc_32(crc_32(0, b, 12), b + 16, length - 16) != u32_at(b + 12))
            break;
        return Py_BuildValue("Ky#", (unsigned long long)start, b, (Py_ssize_t)length);
    }
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"look", native_look, METH_VARARGS, "Look for a name in a copy of a few slots of an index."},
    {"verbs", native_verbs, METH_VARARGS, "Return the verbs of a kind for a subclass of Handle or Reader, by their names."},
    {NULL},
};

static int prepare(PyObject *module)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "a subinterpreter uses the Python code");
        return -1;
    }
    const struct {
        PyObject **name;
        const char *text;
    } names[] = {
        {&slow_enter_name, "_slow_enter"}, {&slow_exit_name, "_slow_exit"}, {&slow_load_name, "_slow_load"},
        {&slow_store_name, "_slow_store"}, {&slow_add_name, "_slow_add"}, {&slow_swap_name, "_slow_swap"}, {&slow_update_name, "_slow_update"},
        {&slow_compare_and_swap_name, "_slow_compare_and_swap"}, {&slow_getitem_name, "_slow_getitem"},
        {&slow_setitem_name, "_slow_setitem"}, {&slow_edit_name, "_slow_edit"},
        {&slow_set_name, "_slow_set"}, {&slow_append_name, "_slow_append"}, {&slow_observe_name, "_slow_observe"}, {&slow_and__name, "_slow_and_"}, {&slow_or__name, "_slow_or_"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (*names[i].name == NULL && (*names[i].name = PyUnicode_InternFromString(names[i].text)) == NULL)
            return -1;
    make_crc_table();
    if (PyType_Ready(&Edit_Type) < 0 || (no_arguments == NULL && find_ctypes() < 0))
        return -1;
    const struct {
        PyTypeObject *type;
        const char *name;
    } types[] = {{&Hold_Type, "Hold"}, {&Handle_Type, "Handle"}, {&Claim_Type, "Claim"}, {&Reader_Type, "Reader"}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (PyType_Ready(types[i].type) < 0)
            return -1;
        Py_INCREF(types[i].type);
        if (PyModule_AddObject(module, types[i].name, (PyObject *)types[i].type) < 0) {
            Py_DECREF(types[i].type);
            return -1;
        }
    }
    return PyModule_AddIntConstant(module, "INTERFACE", INTERFACE);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, prepare},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "shm._native",
    .m_doc = "The verbs that programs call most.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void);

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module);
}
