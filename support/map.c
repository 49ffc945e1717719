// support/map.c -- a string map: entries in order of insertion, found by open addressing with
// linear probing in a table of entry numbers that is at most half full.
#include "support/map.h"

#include <string.h>

#include "support/diag.h"

uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed) {
    const unsigned char *byte = bytes;
    uint64_t hash = UINT64_C(14695981039346656037) ^ seed;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ byte[i]) * UINT64_C(1099511628211);
    return hash;
}

uint64_t hash_mix(uint64_t hash, uint64_t value) {
    // One round of SplitMix64's finaliser (Steele et al. 2014) over the running hash and the value.
    uint64_t z = hash + UINT64_C(0x9e3779b97f4a7c15) + value;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void map_init(Map *map, Arena *arena) {
    *map = (Map){.arena = arena};
}

// The slot that holds `key`, or the empty one where it belongs. The table must not be empty.
static uint32_t *find_slot(const Map *map, const char *key, uint64_t hash) {
    size_t mask = map->slot_count - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        uint32_t *slot = &map->slot[i];
        if (!*slot)
            return slot;
        const MapEntry *entry = &map->entry[*slot - 1];
        if (entry->hash == hash && strcmp(entry->key, key) == 0)
            return slot;
    }
}

static MapEntry *find_entry(const Map *map, const char *key) {
    if (!map->count)
        return NULL;
    uint32_t slot = *find_slot(map, key, hash_bytes(key, strlen(key), 0));
    return slot ? &map->entry[slot - 1] : NULL;
}

void *map_get(const Map *map, const char *key) {
    const MapEntry *entry = find_entry(map, key);
    return entry ? entry->value : NULL;
}

bool map_has(const Map *map, const char *key) {
    return find_entry(map, key) != NULL;
}

static void grow(Map *map) {
    kdc_assert(map->capacity < UINT32_MAX / 4);
    size_t capacity = map->capacity ? map->capacity * 2 : 8;
    MapEntry *entry = arena_array(map->arena, MapEntry, capacity);
    if (map->entry)
        memcpy(entry, map->entry, map->count * sizeof *entry);
    map->entry = entry;
    map->capacity = capacity;
    map->slot_count = capacity * 2;
    map->slot = arena_array(map->arena, uint32_t, map->slot_count);
    for (size_t i = 0; i < map->count; i++)
        *find_slot(map, entry[i].key, entry[i].hash) = (uint32_t)(i + 1);
}

void *map_set(Map *map, const char *key, void *value) {
    MapEntry *present = find_entry(map, key);
    if (present) {
        void *former = present->value;
        present->value = value;
        return former;
    }
    if (map->count == map->capacity)
        grow(map);
    kdc_assert(map->entry && map->slot);
    uint64_t hash = hash_bytes(key, strlen(key), 0);
    uint32_t *slot = find_slot(map, key, hash);
    map->entry[map->count++] = (MapEntry){arena_strdup(map->arena, key), value, hash};
    *slot = (uint32_t)map->count;
    return NULL;
}
