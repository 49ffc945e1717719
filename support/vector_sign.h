/// The sign of an eigenvector or singular vector, which mathematics leaves open: the entry of
/// largest magnitude is positive, and of entries that are as large but for rounding the first
/// counts (ops.def).
#ifndef KDC_SUPPORT_VECTOR_SIGN_H
#define KDC_SUPPORT_VECTOR_SIGN_H

/// The share of the largest magnitude from which on one is as large.
#define SAME_MAGNITUDE (1 - 0x1p-16)

#endif
