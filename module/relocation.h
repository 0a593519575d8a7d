/* SPDX-License-Identifier: MIT */
/* From the page list of a loaded kexec image (struct kimage, Linux 5.10) to the plan of a hop. C,
 * for main.c; addresses are physical. Nothing of the image is believed before it is checked, and
 * nothing of it is changed. */
#ifndef KHOP_MODULE_RELOCATION_H_
#define KHOP_MODULE_RELOCATION_H_

#include "core/embed/khop.h"

#ifdef __cplusplus
extern "C" {
#endif

/* C names. NOLINTBEGIN(readability-identifier-naming) */

struct khop_image {
  uint64_t head;                     /* kimage.head: the first entry of the list */
  uint64_t page_size;                /* a power of two, at least 4096 */
  const struct khop_range* segments; /* what the image covers, in the order of the list */
  size_t segment_count;
  /* The memory of a page, or NULL where none may be read. */
  const void* (*map)(void* context, uint64_t page);
  void* context;
};

struct khop_image_size {
  uint64_t bytes;          /* of all segments */
  uint64_t in_place_bytes; /* whose page is already where it belongs */
  size_t pieces;           /* that khop_image_read() will write at most */
};

/* Walks the list from end to end: each segment in its order, each page of it once, and nothing
 * else. INVALID_ARGUMENT (value: the entry), NOT_ALIGNED (an address), OUT_OF_RANGE (a page that
 * cannot be read), OVERLAP (two segments). */
struct khop_status khop_image_measure(const struct khop_image* image, struct khop_image_size* size);

/* `pieces` of the image, ascending by destination and joined where source and destination go on;
 * `arena`: the destinations, ascending and joined, at most as many as there are segments. The
 * counts are capacity in, used out. As above, and OVERLAP: a page waits where another one belongs
 * (value: that page). */
struct khop_status khop_image_read(const struct khop_image* image, struct khop_piece* pieces,
                                   size_t* piece_count, struct khop_range* arena,
                                   size_t* arena_count);

/* Copies [start, start + size) as it will be after the moves. OUT_OF_RANGE: not all of it is in
 * `pieces`, or cannot be read. */
struct khop_status khop_image_copy(const struct khop_image* image, const struct khop_piece* pieces,
                                   size_t piece_count, uint64_t start, uint64_t size, void* out);

/* Has [start, start + size), whole pages, come from [source, source + size) instead. One piece
 * becomes three at most: room for as many more, and as many pieces as there are pages, has to be
 * there. OUT_OF_MEMORY: it is not. */
struct khop_status khop_image_replace(struct khop_piece* pieces, size_t* piece_count,
                                      size_t capacity, uint64_t start, uint64_t size,
                                      uint64_t source);

/* Digests of each 2 MiB of each range of `arena`, as they will be after the moves, one after the
 * other. *digest_bytes: capacity in, used out. */
struct khop_status khop_image_digest(const struct khop_image* image,
                                     const struct khop_piece* pieces, size_t piece_count,
                                     const struct khop_range* arena, size_t arena_count,
                                     uint32_t kind, uint8_t* digests, size_t* digest_bytes);

/* Cleans [memory, memory + size) to the point of coherency; the caller issues the barrier. */
void khop_clean(const void* memory, size_t size, uint32_t line);

/* Where the 128 bytes of /chosen/khop,timeline are in the flattened `tree`; 0: there are none.
 * INVALID_ARGUMENT: this is no device tree of `size` bytes at most. */
struct khop_status khop_timeline_find(const void* tree, size_t size, uint32_t* offset);

/* Adds them, zeroed, to `tree` in its memory of `size` bytes. OUT_OF_MEMORY: `value` bytes are
 * missing; the tree is as it was. */
struct khop_status khop_timeline_add(void* tree, size_t size, uint32_t* offset);

/* The addresses that `code`, `count` instructions that run at `at`, loads 64-bit words from by ADRP
 * and LDR; loads relative to anything else are passed over. Returns how many were written to
 * `addresses`, which has room for `capacity`; each is there once. */
size_t khop_find_loads(const uint32_t* code, size_t count, uint64_t at, uint64_t* addresses,
                       size_t capacity);

/* NOLINTEND(readability-identifier-naming) */

#ifdef __cplusplus
}
#endif

#endif /* KHOP_MODULE_RELOCATION_H_ */
