/* Durations in nanoseconds, counted in buckets that are at most 1.6 % wide, so that a percentile costs no memory. */
#ifndef LWS_BENCH_HISTOGRAM_H
#define LWS_BENCH_HISTOGRAM_H

#include <stdint.h>

enum { SUB_BUCKET_BITS = 6, SUB_BUCKETS = 1 << SUB_BUCKET_BITS, BUCKETS = (64 - SUB_BUCKET_BITS) * SUB_BUCKETS };

struct histogram {
    uint64_t counts[BUCKETS], total, maximum;
};

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    unsigned bucket = (unsigned)value;
    if (value >= SUB_BUCKETS) {
        int shift = 63 - __builtin_clzll(value) - SUB_BUCKET_BITS;
        bucket = (unsigned)((shift + 1) * SUB_BUCKETS + (int)((value >> shift) & (SUB_BUCKETS - 1)));
    }
    h->counts[bucket]++;
    h->total++;
    if (value > h->maximum)
        h->maximum = value;
}

/* The value below which `percent` of them lie (the middle of its bucket); 0 when there are none. */
static inline double histogram_percentile(const struct histogram *h, double percent)
{
    uint64_t rank = (uint64_t)(percent / 100 * (double)h->total), seen = 0;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        seen += h->counts[bucket];
        if (seen > rank || (seen && seen == h->total)) {
            if (bucket < SUB_BUCKETS)
                return bucket;
            int shift = (int)(bucket / SUB_BUCKETS) - 1;
            uint64_t value = ((uint64_t)(SUB_BUCKETS + bucket % SUB_BUCKETS) << shift) + ((uint64_t)1 << shift) / 2;
            return (double)(value < h->maximum ? value : h->maximum);
        }
    }
    return 0;
}

#endif
