/// A hash map from strings to pointers, in an arena, that remembers the order of insertion: walking
/// it gives the same order on every run. Keys are copied. No removal: set a value to NULL instead.
#ifndef KDC_SUPPORT_MAP_H
#define KDC_SUPPORT_MAP_H

#include <stdbool.h>

#include "support/arena.h"

typedef struct MapEntry {
    const char *key;
    void *value;
    uint64_t hash;
} MapEntry;

typedef struct Map {
    Arena *arena;
    MapEntry *entry; // in order of insertion
    size_t count;
    size_t capacity;
    uint32_t *slot; // open addressing, entry index + 1; 0 is empty
    size_t slot_count;
} Map;

void map_init(Map *map, Arena *arena);
void *map_get(const Map *map, const char *key);
/// Sets or replaces; returns the former value or NULL.
void *map_set(Map *map, const char *key, void *value);
bool map_has(const Map *map, const char *key);

/// FNV-1a of a byte string; the one string hash of the compiler.
uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed);
/// Mixes `value` into `hash`.
uint64_t hash_mix(uint64_t hash, uint64_t value);

#endif
