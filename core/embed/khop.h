/* SPDX-License-Identifier: MIT */
/* khop's core for other kernels, hypervisors and boot loaders: plan where a payload goes, build the
 * control area (relocator, stack, hand-off, page tables), jump. No heap, no libc but memcpy,
 * memset, memmove and memcmp, no state: every function works on memory of the caller alone.
 *
 * In this order:
 *   1. khop_place     destinations for kernel, initrd, device tree, control area
 *   2. khop_assign    which page holds which byte, for pages that are still to be filled; or
 *      khop_order     the order of moves, for pages that are filled already
 *   3. khop_replay    a proof of the result, by other code than made it (optional)
 *   4. khop_digest    of each 2 MiB of what is to be verified (optional)
 *   5. khop_build     the control area, checked with the relocator's own checks
 *   6. the jump: to the first byte of the control area, at its physical address, with the contract
 *      below.
 *
 * The contract of the jump:
 *   - MMU and data cache off, at EL1 or EL2 (HCR_EL2.E2H 0 or 1), interrupts masked, other CPUs off
 *     (PSCI CPU_OFF). Registers do not matter.
 *   - Control area and payload pages are cleaned to the point of coherency; the instruction cache
 *     holds nothing stale of the control area (IC IALLU).
 *   - Nothing writes to the control area, the arena or the pages that moves read (no DMA).
 *   - The relocator does not return: it jumps to `entry` as booting.rst wants it, or prints one
 * line on the UART and resets the machine by PSCI.
 *
 * All addresses are physical and little-endian data is assumed throughout. */
#ifndef KHOP_CORE_EMBED_KHOP_H_
#define KHOP_CORE_EMBED_KHOP_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* C names. NOLINTBEGIN(readability-identifier-naming) */

enum khop_code {
  KHOP_OK = 0,
  KHOP_OUT_OF_MEMORY,    /* scratch or output is too small; value: see the function */
  KHOP_NOT_ALIGNED,      /* value: the offending bits */
  KHOP_OUT_OF_RANGE,     /* value: see the function */
  KHOP_OVERLAP,          /* value: the address that is there twice */
  KHOP_INVALID_ARGUMENT, /* value: see the function */
  KHOP_WRONG_CONTENT     /* value: the destination that would hold something else */
};

struct khop_status {
  enum khop_code code;
  uint64_t value;
};

/* [start, start + size). Lists of ranges are ascending, disjoint and without empty ones. */
struct khop_range {
  uint64_t start;
  uint64_t size;
};

/* Memory for intermediate results; free again when the function returns. */
struct khop_scratch {
  void* start; /* aligned to 8 bytes */
  size_t size;
};

enum {
  KHOP_ITEM_OWNED_ONLY = 1, /* the whole destination has to be owned */
  KHOP_ITEM_WINDOWED = 2    /* within 32 GiB, from a multiple of 1 GiB, of all others with it */
};

/* A part of the payload that is contiguous at its destination. */
struct khop_item {
  uint64_t size;      /* bytes, whole pages */
  uint64_t alignment; /* a power of two; for a kernel 2 MiB */
  uint64_t offset;    /* from a multiple of `alignment`; for a kernel text_offset */
  uint64_t boundary;  /* 0, or a power of two that must not be crossed; for a dtb 2 MiB */
  uint32_t flags;     /* KHOP_ITEM_* */
};

/* destinations[i]: a place for items[i], as many of its bytes as possible in `owned`, all of it in
 * one range of `allowed`. Give the largest items first. *owned_bytes: how many are owned.
 * Scratch: 8 bytes for each owned range, and 8.
 * OUT_OF_RANGE: there is no place for item number `value`; INVALID_ARGUMENT: item number. */
struct khop_status khop_place(const struct khop_item* items, size_t item_count,
                              const struct khop_range* owned, size_t owned_count,
                              const struct khop_range* allowed, size_t allowed_count,
                              struct khop_scratch scratch, uint64_t* destinations,
                              uint64_t* owned_bytes);

/* `size` bytes that belong at `destination` and wait at `source`. */
struct khop_piece {
  uint64_t source;
  uint64_t destination;
  uint64_t size;
};

/* Covers `destinations` by pieces: in place where owned, else from `spare` (owned memory outside of
 * all destinations, control area included). *piece_count: capacity in, used out; the number of
 * destination pages is always enough. Fill the sources afterwards.
 * Scratch: 128 bytes for each range of the three lists.
 * OUT_OF_RANGE: `value` bytes of spare memory are missing. */
struct khop_status khop_assign(const struct khop_range* destinations, size_t destination_count,
                               const struct khop_range* owned, size_t owned_count,
                               const struct khop_range* spare, size_t spare_count,
                               uint64_t page_size, struct khop_scratch scratch,
                               struct khop_piece* pieces, size_t* piece_count);

/* For sources that are filled already: an order of moves in which nothing is overwritten before it
 * is read. Cycles go through the page at `spare_page` (0: none). *ordered_count: capacity in, used
 * out; one and a half times the number of pages is always enough.
 * Scratch: 48 bytes for each page. OUT_OF_MEMORY with value 0: a cycle and no spare page. */
struct khop_status khop_order(const struct khop_piece* pieces, size_t piece_count,
                              uint64_t page_size, uint64_t spare_page, struct khop_scratch scratch,
                              struct khop_piece* ordered, size_t* ordered_count);

/* Does `moves` in order on a model of memory in which `before` is true, and checks that all bytes
 * arrive and that nothing outside of `writable` is written. Scratch: 32 bytes for each entry of
 * both lists, and 4 for each page of each source and each destination of both.
 * WRONG_CONTENT, OVERLAP, OUT_OF_RANGE (a write to `value`), INVALID_ARGUMENT (a destination that
 * is named twice). */
struct khop_status khop_replay(const struct khop_piece* before, size_t before_count,
                               const struct khop_piece* moves, size_t move_count,
                               const struct khop_range* writable, size_t writable_count,
                               uint64_t page_size, struct khop_scratch scratch);

enum { KHOP_DIGEST_NONE = 0, KHOP_DIGEST_SHA256 = 1, KHOP_DIGEST_CRC32C = 2 };
#define KHOP_DIGEST_PIECE ((uint64_t)2 << 20) /* bytes under one digest */
#define KHOP_DIGEST_MAX_SIZE 32

/* The digest of at most KHOP_DIGEST_PIECE bytes, computed with general registers only.
 * Returns its size: 32, 4, or 0 for a kind that is not known. */
size_t khop_digest(uint32_t kind, const void* data, size_t size, uint8_t* digest);

enum { KHOP_UART_NONE = 0, KHOP_UART_PL011 = 1, KHOP_UART_8250 = 2 };
enum { KHOP_PSCI_NONE = 0, KHOP_PSCI_SMC = 1, KHOP_PSCI_HVC = 2 };
enum {
  KHOP_FORCE_SCALAR_DIGEST = 1,
  KHOP_LINUX_IMAGE = 2, /* the entry is an arm64 Image: refuse to jump if its magic is not there */
  KHOP_PLAIN_ENTRY = 16 /* the entry is something else: x0 = 0, and dtb may be 0 */
};

/* Everything the relocator is to do. What is pointed to is only read. */
struct khop_hop {
  uint64_t entry;    /* the next kernel's first byte */
  uint64_t dtb;      /* its device tree, 8-byte aligned */
  uint32_t dtb_size; /* bytes */
  uint32_t
      timeline_offset; /* of 128 bytes in the dtb for the timeline (docs/handoff.md); 0: none */
  uint64_t stamp;      /* an aligned word that holds CNTVCT at the start; 0: none */
  const struct khop_range* arena; /* all that is written, verified or entered; whole pages */
  size_t arena_count;
  const struct khop_piece* pieces; /* of khop_assign or khop_order */
  size_t piece_count;
  const struct khop_range* verify; /* within the arena; each has a digest for each 2 MiB */
  size_t verify_count;
  const uint8_t* digests; /* one after the other */
  size_t digest_bytes;
  uint32_t digest_kind;     /* KHOP_DIGEST_* */
  uint32_t flags;           /* KHOP_FORCE_SCALAR_DIGEST | KHOP_LINUX_IMAGE */
  uint32_t mmu;             /* 1: on, with page tables; 0: off */
  uint32_t granule_shift;   /* 12, 14 or 16: a granule that the CPU has */
  uint32_t va_bits;         /* 39..48 */
  uint32_t pa_bits;         /* above all memory; at most what the CPU has, and 48 */
  uint32_t cache_line_size; /* CTR_EL0.DminLine in bytes */
  uint32_t uart_kind;       /* KHOP_UART_*: for the line before a reset */
  uint64_t uart_base;
  uint32_t uart_reg_shift;
  uint32_t uart_io_width; /* bytes: 1, 2 or 4 */
  uint32_t psci;          /* KHOP_PSCI_*: how to reset */
  uint32_t record_size;   /* bytes for a failure record, at least 512; 0: none */
  uint64_t record_base;   /* where, physical; see core/handoff/failure_record.h */
  uint64_t loaded_at;     /* seconds since 1970, for the record */
};

/* The relocator that belongs to this library. */
const void* khop_blob(size_t* size);

/* An upper bound of the size of the control area of `hop`, at any address. Scratch: 64 bytes for
 * each piece, 24 for each range to verify. */
struct khop_status khop_control_size(const struct khop_hop* hop, const void* blob, size_t blob_size,
                                     struct khop_scratch scratch, uint64_t* size);

/* Builds the control area in `memory`, which will be at `base` (aligned to the granule, outside of
 * the arena and of all sources). *size: bytes of `memory` in, bytes used out. Scratch: as above.
 * INVALID_ARGUMENT: the relocator would refuse it (value: the failure code of docs/handoff.md).
 * OUT_OF_MEMORY: `memory` is too small. OUT_OF_RANGE: no virtual addresses are left for the window,
 * build it with mmu = 0. */
struct khop_status khop_build(const struct khop_hop* hop, const void* blob, size_t blob_size,
                              uint64_t base, void* memory, uint64_t* size,
                              struct khop_scratch scratch);

/* NOLINTEND(readability-identifier-naming) */

#ifdef __cplusplus
}
#endif

#endif /* KHOP_CORE_EMBED_KHOP_H_ */
