# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""`online_models.plain_sums` in C: the same steps in the same order, hence the same bits."""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.math cimport exp, fabs, isfinite, sqrt

from online_models.plain_sums import score_bounded


cdef class Coordinate:
    cdef public double w, z, n
    cdef public Py_ssize_t position
    cdef public bint changed

    def __init__(self, Py_ssize_t position, double w=0.0, double z=0.0, double n=0.0):
        self.position = position
        self.w = w
        self.z = z
        self.n = n
        self.changed = False


cpdef double sigmoid(double logit) noexcept:
    if logit > 30.0:
        return 1.0
    if logit >= -30.0:
        return 1.0 / (1.0 + exp(-logit))
    return 0.0 if logit < -30.0 else 0.5


cdef int check_lengths(list some, list others) except -1:
    if len(some) != len(others):
        raise ValueError(f"Expected lists of one length, got {len(some)} and {len(others)}")
    return 0


def sum_up(list ones not None, list values not None, double logit):
    check_lengths(ones, values)
    cdef Py_ssize_t at
    for at in range(len(ones)):
        logit += (<Coordinate?>ones[at]).w * <double>values[at]
    return logit


def move(
    list ones not None,
    list values not None,
    list changed not None,
    double gradient,
    double rate,
    double curvature,
    double l1,
):
    check_lengths(ones, values)
    cdef Py_ssize_t at
    cdef Coordinate one
    cdef double g, n, root, weight, z
    cdef double minus_l1 = -l1
    for at in range(len(ones)):
        one = <Coordinate?>ones[at]
        g = gradient * <double>values[at]
        z = one.z
        n = one.n
        root = sqrt(n)
        if z > l1:
            one.w = weight = (l1 - z) / (root * rate + curvature)
        elif z < minus_l1:
            one.w = weight = (minus_l1 - z) / (root * rate + curvature)
        else:
            weight = one.w
        one.n = n = n + g * g
        one.z = z + (g - (sqrt(n) - root) * rate * weight)
        if not one.changed:
            one.changed = True
            changed.append(one)


cdef struct Share:
    double size
    double share
    Py_ssize_t at


def score_named(dict weights not None, list names not None, list values not None, double logit, Py_ssize_t k):
    check_lengths(names, values)
    cdef Py_ssize_t at, place
    cdef Py_ssize_t kept = 0
    cdef double share, size
    cdef double intercept = logit
    cdef PyObject* weight
    k = max(0, min(k, len(names)))
    cdef Share* largest = <Share*>PyMem_Malloc((k + 1) * sizeof(Share))
    if largest == NULL:
        raise MemoryError
    try:
        for at in range(len(names)):
            if names[at] is None:
                continue
            weight = PyDict_GetItemWithError(weights, names[at])
            if weight == NULL:
                continue
            share = <double><object>weight * <double>values[at]
            logit += share
            if share == 0.0 or k == 0:
                continue
            size = fabs(share)
            if kept == k:
                if size <= largest[k - 1].size:
                    continue
                kept -= 1
            place = kept
            while place > 0 and largest[place - 1].size < size:
                largest[place] = largest[place - 1]
                place -= 1
            largest[place] = Share(size, share, at)
            kept += 1
        if not isfinite(logit):
            return score_bounded(weights, names, values, intercept, k)
        return sigmoid(logit), [(names[largest[at].at], largest[at].share) for at in range(kept)]
    finally:
        PyMem_Free(largest)
