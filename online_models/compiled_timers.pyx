# cython: language_level=3, boundscheck=False, wraparound=False
"""`online_models.plain_timers` in C: the same heap by the same steps, hence the same order."""

from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.unicode cimport PyUnicode_Compare

from online_models import plain_timers

cdef Py_ssize_t MOST_STALE = plain_timers.MOST_STALE


cdef struct Timer:
    long long due_ms
    PyObject* user_id  # a reference of ours


cdef bint is_before(Timer* one, Timer* other) noexcept:
    if one.due_ms != other.due_ms:
        return one.due_ms < other.due_ms
    return PyUnicode_Compare(<object>one.user_id, <object>other.user_id) < 0


cdef class Timers:
    cdef dict _due_of
    cdef set _changed
    cdef Timer* _heap
    cdef Py_ssize_t _size, _room

    def __cinit__(self):
        self._due_of = {}
        self._changed = set()

    def __init__(self, due_of=()):
        self._due_of.update(due_of)
        self._fill()

    def __dealloc__(self):
        self._clear()
        PyMem_Free(self._heap)

    def __len__(self):
        return len(self._due_of)

    def earlier(self, str user_id not None, long long due_ms):
        known = self._due_of.get(user_id)
        if known is None or due_ms < <long long>known:
            self._set(user_id, due_ms)

    def set(self, str user_id not None, due_ms):
        if due_ms is not None:
            self._set(user_id, due_ms)
            return
        self._changed.add(user_id)
        self._due_of.pop(user_id, None)

    cdef int _set(self, str user_id, due_ms) except -1:
        self._append(due_ms, user_id)
        self._rise(0, self._size - 1)
        self._due_of[user_id] = due_ms
        self._changed.add(user_id)
        if self._size > 2 * len(self._due_of) + MOST_STALE:
            self._clear()
            self._fill()
        return 0

    def is_due(self, long long now_ms):
        return self._size > 0 and self._heap[0].due_ms <= now_ms

    def pop_due(self, long long now_ms):
        while self._size > 0 and self._heap[0].due_ms <= now_ms:
            due_ms, user_id = first = self._pop()
            if self._due_of.get(user_id) == due_ms:
                yield first

    def due_until(self, long long now_ms):
        cdef list found = []
        self._gather(0, now_ms, found)
        return found

    def take_changed(self):
        changed = {user_id: self._due_of.get(user_id) for user_id in sorted(self._changed)}
        self._changed.clear()
        return changed

    cdef int _gather(self, Py_ssize_t at, long long now_ms, list found) except -1:
        if at >= self._size or self._heap[at].due_ms > now_ms:
            return 0
        user_id = <object>self._heap[at].user_id
        if self._due_of.get(user_id) == self._heap[at].due_ms:
            found.append(user_id)
        self._gather(2 * at + 2, now_ms, found)
        self._gather(2 * at + 1, now_ms, found)
        return 0

    cdef int _fill(self) except -1:
        cdef Py_ssize_t at
        for user_id, due_ms in self._due_of.items():
            self._append(due_ms, user_id)
        for at in range(self._size // 2 - 1, -1, -1):
            self._sink(at)
        return 0

    cdef void _clear(self) noexcept:
        cdef Py_ssize_t at
        for at in range(self._size):
            Py_DECREF(<object>self._heap[at].user_id)
        self._size = 0

    cdef int _append(self, long long due_ms, str user_id) except -1:
        cdef Py_ssize_t room
        cdef void* heap
        if self._size == self._room:
            room = 2 * self._room + 64
            heap = PyMem_Realloc(self._heap, room * sizeof(Timer))
            if heap == NULL:
                raise MemoryError
            self._heap, self._room = <Timer*>heap, room
        self._heap[self._size] = Timer(due_ms, <PyObject*>user_id)
        Py_INCREF(user_id)
        self._size += 1
        return 0

    cdef tuple _pop(self):
        cdef Timer first = self._heap[0]
        user_id = <object>first.user_id
        self._size -= 1
        if self._size > 0:
            self._heap[0] = self._heap[self._size]
            self._sink(0)
        Py_DECREF(user_id)  # the heap's
        return first.due_ms, user_id

    cdef void _rise(self, Py_ssize_t top, Py_ssize_t at) noexcept:
        cdef Timer one = self._heap[at]
        cdef Py_ssize_t parent
        while at > top:
            parent = (at - 1) >> 1
            if not is_before(&one, &self._heap[parent]):
                break
            self._heap[at] = self._heap[parent]
            at = parent
        self._heap[at] = one

    cdef void _sink(self, Py_ssize_t top) noexcept:
        cdef Timer one = self._heap[top]
        cdef Py_ssize_t at = top
        cdef Py_ssize_t child = 2 * at + 1
        while child < self._size:  # to a leaf, and from there up again: what is moved here is mostly late
            if child + 1 < self._size and not is_before(&self._heap[child], &self._heap[child + 1]):
                child += 1
            self._heap[at] = self._heap[child]
            at = child
            child = 2 * at + 1
        self._heap[at] = one
        self._rise(top, at)
