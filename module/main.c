/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* khop_relocate.ko: on Linux 5.10 the image of kexec_load(2) or kexec_file_load(2), whoever loaded
 * it, is brought to its place by khop's relocator, with the MMU and the caches on.
 *
 * At reboot, in process context, a notifier reads the image's page list and builds the control
 * area. machine_kexec() then does what it always does, on an empty list, and enters the relocator
 * in the image's place. Until that moment nothing of the image is changed: whatever is short or odd
 * leaves it to the stock code, with a line in the log. Why it is so: docs/module.md.
 *
 * This is the only file that sees the kernel's headers, and long for that reason: what can be said
 * without them is C++ beside it (relocation.h), which has its tests on the host. */
#define pr_fmt(fmt) "khop_relocate: " fmt

#include <linux/kexec.h>
#include <linux/module.h>
#include <linux/version.h>

MODULE_DESCRIPTION("kexec relocation with the MMU and the caches on");
MODULE_AUTHOR("the khop authors");
MODULE_LICENSE("Dual MIT/GPL");
MODULE_INFO(khop_version, KHOP_VERSION);

#if (LINUX_VERSION_CODE >> 8) != (KERNEL_VERSION(5, 10, 0) >> 8)

static int __init khop_relocate_init(void) {
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 16, 0)
  pr_err("not loaded: Linux 5.16 and later relocate with the MMU on themselves\n");
#else
  pr_err("not loaded: known is the kexec of Linux 5.10 only, and this is another kernel\n");
#endif
  return -EOPNOTSUPP;
}

#else

#include <asm/cpufeature.h>
#include <generated/utsrelease.h>
#include <linux/acpi.h>
#include <linux/kprobes.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/reboot.h>
#include <linux/security.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/utsname.h>
#include <linux/vmalloc.h>

#include "module/relocation.h"

#define TREE_MAGIC 0xedfe0dd0U  /* 0xd00dfeed, as a little-endian word */
#define IMAGE_MAGIC 0x644d5241U /* booting.rst, at byte 56 */
#define BLOB_MAGIC 0x4252484bU  /* core/relocator/blob.h, at byte 4 */
#define STAMP_OFFSET 64         /* in the page of the empty list */
#define MAX_ASIDE 64            /* allocations that may be in the way before it is too many */

static char verify[8] = "none";
module_param_string(verify, verify, sizeof(verify), 0600);
MODULE_PARM_DESC(verify, "digest that the relocator checks after the moves: none, crc32c, sha256");
static int timeline = 1;
module_param(timeline, int, 0600);
MODULE_PARM_DESC(
    timeline,
    "times of the hop in the device tree: 0 never, 1 where a kernel is entered itself, 2 "
    "with any entry (a purgatory that verifies the tree would stop: kexec --no-checks)");
static uint fail_allocation;
module_param(fail_allocation, uint, 0600);
MODULE_PARM_DESC(fail_allocation, "for tests: the allocation of this number fails (0: none)");

/* An allocation of whole pages, one run of physical memory. */
struct pages {
  void* memory;
  size_t size;
};

static struct {
  bool ready;
  struct kimage* image;
  kimage_entry_t head; /* what the image had when the plan was made */
  unsigned long start;
  struct pages control;
  struct pages list; /* the empty list, and the stamp */
  struct pages tree; /* the device tree with its timeline */
} plan;

static struct kimage** loaded_image; /* &kexec_image */
static u32 conduit;

/* What sysfs shows. */
static char decision[160] = "no reboot by kexec yet";
static u64 planned, left_alone, last_bytes, last_moved_bytes, last_control_bytes;

/* ---- Memory */

static uint allocations; /* of this plan */

static bool denied(void) { return ++allocations == READ_ONCE(fail_allocation); }

static void* take_array(size_t size) {
  if (denied()) return NULL;
  return __vmalloc(max_t(size_t, size, 8), GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY);
}

static void give_pages(struct pages* pages) {
  if (pages->memory) free_pages_exact(pages->memory, pages->size);
  pages->memory = NULL;
}

static bool in_the_way(const void* memory, size_t size, const struct khop_range* arena,
                       size_t arena_count) {
  phys_addr_t start = virt_to_phys(memory);
  size_t i;

  for (i = 0; i < arena_count; ++i) {
    if (start < arena[i].start + arena[i].size && arena[i].start < start + size) return true;
  }
  return false;
}

/* A run of pages outside of every destination. What the allocator gives inside of one is kept aside
 * until another was found. */
static bool take_pages(struct pages* pages, size_t size, const struct khop_range* arena,
                       size_t arena_count) {
  void* aside[MAX_ASIDE];
  size_t count = 0;

  pages->memory = NULL;
  pages->size = PAGE_ALIGN(size);
  while (!denied() && count < MAX_ASIDE) {
    void* memory = alloc_pages_exact(pages->size, GFP_KERNEL | __GFP_NOWARN | __GFP_RETRY_MAYFAIL);

    if (!memory) break;
    if (!in_the_way(memory, pages->size, arena, arena_count)) {
      pages->memory = memory;
      break;
    }
    aside[count++] = memory;
  }
  while (count) free_pages_exact(aside[--count], pages->size);
  return pages->memory != NULL;
}

static const void* map_page(void* context, uint64_t page) {
  return pfn_valid(PHYS_PFN(page)) ? phys_to_virt(page) : NULL;
}

/* ---- What the relocator needs to know of the machine */

static u32 cache_line(void) {
  return 4U << (read_sanitised_ftr_reg(SYS_CTR_EL0) >> CTR_DMINLINE_SHIFT & 0xf);
}

static u32 pa_bits(void) {
  static const u32 bits[] = {32, 36, 40, 42, 44, 48};
  u64 range = read_sanitised_ftr_reg(SYS_ID_AA64MMFR0_EL1) & 0xf;

  return range < ARRAY_SIZE(bits) ? bits[range] : 48;
}

/* How a failed hop resets the machine; KHOP_PSCI_NONE: it could not. */
static u32 find_conduit(void) {
  static const char* const names[] = {"arm,psci-1.0", "arm,psci-0.2"};
  size_t i;

  for (i = 0; i < ARRAY_SIZE(names); ++i) {
    struct device_node* node = of_find_compatible_node(NULL, NULL, names[i]);
    const char* method = NULL;

    if (!node) continue;
    if (of_property_read_string(node, "method", &method)) method = "";
    of_node_put(node);
    return !strcmp(method, "hvc") ? KHOP_PSCI_HVC : KHOP_PSCI_SMC;
  }
#ifdef CONFIG_ACPI
  if (!acpi_disabled && acpi_gbl_FADT.arm_boot_flags & ACPI_FADT_PSCI_COMPLIANT) {
    return acpi_gbl_FADT.arm_boot_flags & ACPI_FADT_PSCI_USE_HVC ? KHOP_PSCI_HVC : KHOP_PSCI_SMC;
  }
#endif
  return KHOP_PSCI_NONE;
}

/* The UART for the line before a reset, from /chosen/stdout-path or the SPCR; none where it is of
 * another kind. */
static void find_uart(struct khop_hop* hop) {
  struct device_node* chosen;
  struct device_node* node = NULL;
  struct resource memory;
  const char* path;
#ifdef CONFIG_ACPI
  struct acpi_table_header* header;

  if (!acpi_disabled && ACPI_SUCCESS(acpi_get_table(ACPI_SIG_SPCR, 0, &header))) {
    const struct acpi_table_spcr* spcr = (const struct acpi_table_spcr*)header;

    if ((spcr->interface_type == ACPI_DBG2_ARM_PL011 ||
         spcr->interface_type == ACPI_DBG2_ARM_SBSA_GENERIC) &&
        spcr->serial_port.space_id == ACPI_ADR_SPACE_SYSTEM_MEMORY) {
      hop->uart_kind = KHOP_UART_PL011;
      hop->uart_base = spcr->serial_port.address;
      hop->uart_io_width = 4;
    }
    acpi_put_table(header);
    return;
  }
#endif
  chosen = of_find_node_by_path("/chosen");
  if (chosen && !of_property_read_string(chosen, "stdout-path", &path)) {
    node = of_find_node_opts_by_path(path, NULL);
  }
  of_node_put(chosen);
  if (!node || of_address_to_resource(node, 0, &memory)) {
    of_node_put(node);
    return;
  }
  hop->uart_base = memory.start;
  if (of_device_is_compatible(node, "arm,pl011")) {
    hop->uart_kind = KHOP_UART_PL011;
    hop->uart_io_width = 4;
  } else if (of_device_is_compatible(node, "ns16550a") ||
             of_device_is_compatible(node, "snps,dw-apb-uart")) {
    hop->uart_kind = KHOP_UART_8250;
    hop->uart_io_width = 1;
    of_property_read_u32(node, "reg-io-width", &hop->uart_io_width);
    of_property_read_u32(node, "reg-shift", &hop->uart_reg_shift);
  } else {
    hop->uart_base = 0;
  }
  of_node_put(node);
}

/* ---- The plan */

static void forget_plan(void) {
  plan.ready = false;
  give_pages(&plan.control);
  give_pages(&plan.list);
  give_pages(&plan.tree);
}

/* Scratch of one plan. */
struct work {
  struct khop_image image;
  struct khop_range segments[KEXEC_SEGMENT_MAX];
  struct khop_range arena[KEXEC_SEGMENT_MAX + 1];
  size_t arena_count; /* destinations only */
  struct khop_piece* pieces;
  size_t piece_count, piece_capacity;
  void* scratch;
  u8* digests;
  struct khop_hop hop;
};

static const char* failed(struct khop_status status, const char* what) {
  static char text[96];

  snprintf(text, sizeof(text), "%s (code %d, value 0x%llx)", what, status.code, status.value);
  return text;
}

/* Why `kimage` is not what this module knows; NULL: it is. */
static const char* check_kimage(const struct kimage* kimage) {
  if (kimage->type != KEXEC_TYPE_DEFAULT || kimage->preserve_context) {
    return "the image is of another type";
  }
  if (kimage->nr_segments == 0 || kimage->nr_segments > KEXEC_SEGMENT_MAX) {
    return "the image has no sensible number of segments";
  }
  if (!virt_addr_valid(kimage->entry) || !virt_addr_valid(kimage->last_entry) ||
      !pfn_valid(page_to_pfn(kimage->control_code_page))) {
    return "struct kimage does not look as expected";
  }
  return NULL;
}

static const char* read_kimage(const struct kimage* kimage, struct work* work) {
  const char* why;
  size_t i;

  if (!virt_addr_valid(kimage) || !IS_ALIGNED((unsigned long)kimage, 8)) {
    return "there is no image, or not where it should be";
  }
  why = check_kimage(kimage);
  if (why) return why;
  if (kimage->head & IND_DONE) return "the image is in place already";
  for (i = 0; i < kimage->nr_segments; ++i) {
    work->segments[i].start = kimage->segment[i].mem;
    work->segments[i].size = kimage->segment[i].memsz;
  }
  work->image.head = kimage->head;
  work->image.page_size = PAGE_SIZE;
  work->image.segments = work->segments;
  work->image.segment_count = kimage->nr_segments;
  work->image.map = map_page;
  return NULL;
}

static const char* read_pieces(struct work* work) {
  struct khop_image_size size;
  struct khop_status status = khop_image_measure(&work->image, &size);

  if (status.code != KHOP_OK) return failed(status, "its page list does not look as expected");
  if (size.bytes == size.in_place_bytes) return "all of the image is in place already";
  work->piece_capacity = size.pieces + 2;
  work->pieces = take_array(work->piece_capacity * sizeof(*work->pieces));
  if (!work->pieces) return "no memory for the plan";
  work->piece_count = work->piece_capacity;
  work->arena_count = KEXEC_SEGMENT_MAX;
  status = khop_image_read(&work->image, work->pieces, &work->piece_count, work->arena,
                           &work->arena_count);
  if (status.code != KHOP_OK) return failed(status, "its pages are not as expected");
  last_bytes = size.bytes;
  last_moved_bytes = size.bytes - size.in_place_bytes;
  return NULL;
}

static bool copy_of(struct work* work, uint64_t start, uint64_t size, void* out) {
  return khop_image_copy(&work->image, work->pieces, work->piece_count, start, size, out).code ==
         KHOP_OK;
}

/* The device tree among the segments: its number, and its size; segment_count if there is none. */
static size_t find_tree(struct work* work, uint32_t* size) {
  size_t i;
  __be32 header[2];

  for (i = 0; i < work->image.segment_count; ++i) {
    if (!copy_of(work, work->segments[i].start, sizeof(header), header)) continue;
    *size = be32_to_cpu(header[1]);
    if ((__force u32)header[0] == TREE_MAGIC && *size <= work->segments[i].size) return i;
  }
  return i;
}

/* Has the tree come from a copy with room for the timeline; the image's own stays as it is. A
 * timeline that cannot be had is no reason to give up, memory that is short is. */
static const char* add_timeline(struct work* work, const struct khop_range* tree) {
  struct khop_hop* hop = &work->hop;
  struct khop_status status;
  u32 offset = 0;

  if (!take_pages(&plan.tree, tree->size, work->arena, work->arena_count)) {
    return "no memory for the device tree";
  }
  if (!copy_of(work, tree->start, tree->size, plan.tree.memory)) {
    return "the device tree cannot be read";
  }
  status = khop_timeline_find(plan.tree.memory, tree->size, &offset);
  if (status.code == KHOP_OK && !offset) {
    status = khop_timeline_add(plan.tree.memory, tree->size, &offset);
  }
  if (status.code != KHOP_OK) {
    pr_info("no timeline: there is no room in the device tree\n");
    return NULL;
  }
  memset(plan.tree.memory + offset, 0, 128);
  status = khop_image_replace(work->pieces, &work->piece_count, work->piece_capacity, tree->start,
                              tree->size, virt_to_phys(plan.tree.memory));
  if (status.code != KHOP_OK) return failed(status, "the device tree cannot be replaced");
  hop->dtb = tree->start;
  hop->dtb_size = be32_to_cpu(((__be32*)plan.tree.memory)[1]);
  hop->timeline_offset = offset;
  return NULL;
}

/* What is entered, with what in x0, and whether the times can go into the tree. */
static const char* read_entry(struct work* work, const struct kimage* kimage) {
  struct khop_hop* hop = &work->hop;
  uint32_t tree_size = 0;
  size_t tree = find_tree(work, &tree_size);
  bool has_tree = tree < work->image.segment_count;
  unsigned long x0 = 0;
  u32 code[16];
  bool kernel;

#ifdef CONFIG_KEXEC_FILE
  x0 = kimage->arch.dtb_mem;
#endif
  if (!copy_of(work, kimage->start, sizeof(code), code)) {
    return "its entry lies in no segment of it";
  }
  kernel = code[14] == IMAGE_MAGIC;
  hop->entry = kimage->start;
  if (x0) {
    if (!has_tree || work->segments[tree].start != x0) {
      return "its device tree is not where it should be";
    }
    hop->dtb = x0;
    hop->dtb_size = tree_size;
    hop->flags = kernel ? KHOP_LINUX_IMAGE : 0;
  } else {
    hop->flags = KHOP_PLAIN_ENTRY;
  }
  /* khop's own relocator has a timeline of its own, and may verify the tree. */
  if (!has_tree || code[1] == BLOB_MAGIC) return NULL;
  if (timeline == 2 || (timeline == 1 && kernel)) return add_timeline(work, &work->segments[tree]);
  return NULL;
}

static const char* add_digests(struct work* work) {
  struct khop_hop* hop = &work->hop;
  struct khop_status status;
  size_t i, count = 0;

  if (sysfs_streq(verify, "none")) return NULL;
  if (sysfs_streq(verify, "sha256")) {
    hop->digest_kind = KHOP_DIGEST_SHA256;
  } else if (sysfs_streq(verify, "crc32c")) {
    hop->digest_kind = KHOP_DIGEST_CRC32C;
  } else {
    return "verify= is neither none nor crc32c nor sha256";
  }
  for (i = 0; i < work->arena_count; ++i) {
    count += DIV_ROUND_UP_ULL(work->arena[i].size, KHOP_DIGEST_PIECE);
  }
  hop->digest_bytes = count * KHOP_DIGEST_MAX_SIZE;
  work->digests = take_array(hop->digest_bytes);
  if (!work->digests) return "no memory for the digests";
  status =
      khop_image_digest(&work->image, work->pieces, work->piece_count, work->arena,
                        work->arena_count, hop->digest_kind, work->digests, &hop->digest_bytes);
  if (status.code != KHOP_OK) return failed(status, "its pages cannot be read");
  hop->digests = work->digests;
  return NULL;
}

/* The page of the empty list, which is also where the time of the reboot is. It joins the arena, in
 * its place. */
static const char* add_list(struct work* work, u64 stamp, struct khop_range* arena) {
  u64* list;
  size_t i, count = 0;
  bool added = false;

  if (!take_pages(&plan.list, PAGE_SIZE, work->arena, work->arena_count)) {
    return "no memory for a page";
  }
  list = plan.list.memory;
  list[0] = IND_DONE;
  list[STAMP_OFFSET / sizeof(*list)] = stamp;
  work->hop.stamp = virt_to_phys(list) + STAMP_OFFSET;
  for (i = 0; i <= work->arena_count; ++i) {
    if (!added && (i == work->arena_count || work->arena[i].start > virt_to_phys(list))) {
      arena[count].start = virt_to_phys(list);
      arena[count++].size = PAGE_SIZE;
      added = true;
    }
    if (i < work->arena_count) arena[count++] = work->arena[i];
  }
  work->hop.arena = arena;
  work->hop.arena_count = count;
  return NULL;
}

static const char* build_control(struct work* work) {
  struct khop_hop* hop = &work->hop;
  struct khop_scratch scratch;
  struct khop_status status;
  size_t blob_size;
  const void* blob = khop_blob(&blob_size);
  u64 size;

  hop->pieces = work->pieces;
  hop->piece_count = work->piece_count;
  hop->mmu = 1;
  hop->granule_shift = PAGE_SHIFT;
  hop->va_bits = 48;
  hop->pa_bits = pa_bits();
  hop->cache_line_size = cache_line();
  hop->psci = conduit;
  hop->loaded_at = ktime_get_real_seconds();
  find_uart(hop);
  if (hop->digest_kind != KHOP_DIGEST_NONE) {
    hop->verify = work->arena;
    hop->verify_count = work->arena_count;
  }
  scratch.size = 64 * work->piece_count + 24 * (work->arena_count + 1);
  scratch.start = take_array(scratch.size);
  work->scratch = scratch.start;
  if (!scratch.start) return "no memory for the plan";
  status = khop_control_size(hop, blob, blob_size, scratch, &size);
  if (status.code != KHOP_OK) return failed(status, "no plan can be made");
  if (!take_pages(&plan.control, size, hop->arena, hop->arena_count)) {
    return "no memory for the control area";
  }
  size = plan.control.size;
  status = khop_build(hop, blob, blob_size, virt_to_phys(plan.control.memory), plan.control.memory,
                      &size, scratch);
  if (status.code != KHOP_OK) return failed(status, "no plan can be made");
  last_control_bytes = size;
  return NULL;
}

/* docs/handoff.md: control area, sources and what is in place are at the point of coherency. The
 * stock code would do that for the pages of the list. */
static void clean_all(const struct work* work) {
  u32 line = cache_line();
  size_t i;

  for (i = 0; i < work->piece_count; ++i) {
    khop_clean(phys_to_virt(work->pieces[i].source), work->pieces[i].size, line);
    cond_resched();
  }
  khop_clean(plan.control.memory, plan.control.size, line);
  khop_clean(plan.list.memory, plan.list.size, line);
  dsb(sy); /* the stock code ends with IC IALLU */
}

/* Why the image is left alone; NULL: there is a plan. */
static const char* make_plan(u64 stamp) {
  struct khop_range arena[KEXEC_SEGMENT_MAX + 1];
  struct work* work;
  struct kimage* kimage = NULL;
  const char* why;

  allocations = 0;
  work = take_array(sizeof(*work));
  if (!work) return "no memory for the plan";
  memset(work, 0, sizeof(*work));
  if (copy_from_kernel_nofault(&kimage, loaded_image, sizeof(kimage))) kimage = NULL;
  why = read_kimage(kimage, work);
  if (!why) why = read_pieces(work);
  if (!why) why = read_entry(work, kimage);
  if (!why) why = add_digests(work);
  if (!why) why = add_list(work, stamp, arena);
  if (!why) why = build_control(work);
  if (!why) {
    clean_all(work);
    plan.image = kimage;
    plan.head = kimage->head;
    plan.start = kimage->start;
  }
  vfree(work->scratch);
  vfree(work->digests);
  vfree(work->pieces);
  vfree(work);
  return why;
}

/* ---- The way in */

/* The last moment: one CPU is left, the kernel holds its kexec lock. A crash image is another one.
 */
static int __kprobes at_machine_kexec(struct kprobe* probe, struct pt_regs* regs) {
  struct kimage* image = (struct kimage*)regs->regs[0];

  if (!plan.ready || image != plan.image || image->head != plan.head ||
      image->start != plan.start) {
    return 0;
  }
  /* Not IND_DONE itself: the stock code would clean every destination. */
  image->head = virt_to_phys(plan.list.memory) | IND_INDIRECTION;
  image->start = virt_to_phys(plan.control.memory);
  return 0;
}
NOKPROBE_SYMBOL(at_machine_kexec);

/* Disarmed until there is a plan: a crash before that meets no breakpoint. */
static struct kprobe hook = {
    .symbol_name = "machine_kexec", .pre_handler = at_machine_kexec, .flags = KPROBE_FLAG_DISABLED};

/* The task that is in kernel_kexec(), which holds the kernel's kexec lock: no image comes or goes.
 * The same notifiers run for a plain reboot, which holds nothing. */
static struct task_struct* in_kexec;

static int enter_kexec(struct kretprobe_instance* instance, struct pt_regs* regs) {
  WRITE_ONCE(in_kexec, current);
  return 0;
}
NOKPROBE_SYMBOL(enter_kexec);

/* It returns only where nothing was loaded, or somebody else holds the lock. */
static int leave_kexec(struct kretprobe_instance* instance, struct pt_regs* regs) {
  WRITE_ONCE(in_kexec, NULL);
  return 0;
}
NOKPROBE_SYMBOL(leave_kexec);

static struct kretprobe kexec_hook = {
    .kp.symbol_name = "kernel_kexec", .entry_handler = enter_kexec, .handler = leave_kexec};

static int at_reboot(struct notifier_block* block, unsigned long action, void* command) {
  u64 stamp = read_sysreg(cntvct_el0);
  const char* why;

  if (READ_ONCE(in_kexec) != current || plan.ready) return NOTIFY_DONE;
  /* From here on the module stays: its pages are what will be entered. */
  if (!try_module_get(THIS_MODULE)) return NOTIFY_DONE;
  why = make_plan(stamp);
  if (!why) {
    plan.ready = true;
    if (enable_kprobe(&hook)) why = "the hook at machine_kexec is not to be had";
  }
  if (why) {
    forget_plan();
    ++left_alone;
    snprintf(decision, sizeof(decision), "stock relocation: %s", why);
    module_put(THIS_MODULE);
  } else {
    ++planned;
    snprintf(decision, sizeof(decision),
             "MMU on: moves %llu of %llu bytes, control area %llu bytes, verify %s",
             last_moved_bytes, last_bytes, last_control_bytes, verify);
  }
  pr_info("%s\n", decision);
  return NOTIFY_DONE;
}

/* The last of all notifiers. */
static struct notifier_block notifier = {.notifier_call = at_reboot, .priority = INT_MIN};

/* The address and size of a function of the kernel; 0: there is none of this name. */
static unsigned long find_function(const char* name, size_t* size) {
  struct kprobe probe = {.symbol_name = name, .flags = KPROBE_FLAG_DISABLED};
  char text[KSYM_SYMBOL_LEN];
  unsigned long offset, address;
  const char* at;

  if (register_kprobe(&probe)) return 0;
  address = (unsigned long)probe.addr;
  unregister_kprobe(&probe);
  sprint_symbol(text, address);
  at = strchr(text, '+');
  if (!at || sscanf(at, "+0x%lx/0x%zx", &offset, size) != 2 || offset != 0) return 0;
  return address;
}

/* The word that kernel_kexec() and the reader of /sys/kernel/kexec_loaded both look at:
 * &kexec_image. The symbol table of Debian's kernels has no data. */
static struct kimage** find_loaded_image(void) {
  static const char* const names[] = {"kernel_kexec", "kexec_loaded_show"};
  uint64_t loads[ARRAY_SIZE(names)][16];
  size_t counts[ARRAY_SIZE(names)];
  struct kimage** found = NULL;
  struct kimage* image;
  size_t i, j;

  for (i = 0; i < ARRAY_SIZE(names); ++i) {
    size_t size;
    unsigned long address = find_function(names[i], &size);

    if (!address || size > 4096) return NULL;
    counts[i] =
        khop_find_loads((const u32*)address, size / 4, address, loads[i], ARRAY_SIZE(loads[i]));
  }
  for (i = 0; i < counts[0]; ++i) {
    for (j = 0; j < counts[1]; ++j) {
      if (loads[0][i] != loads[1][j]) continue;
      if (found) return NULL;
      found = (struct kimage**)loads[0][i];
    }
  }
  if (!found || !IS_ALIGNED((unsigned long)found, 8) ||
      copy_from_kernel_nofault(&image, found, sizeof(image)) ||
      (image && !virt_addr_valid(image))) {
    return NULL;
  }
  return found;
}

/* ---- sysfs: /sys/kernel/khop_relocate */

static struct kobject* directory;

static ssize_t decision_show(struct kobject* kobject, struct kobj_attribute* attribute, char* out) {
  return sysfs_emit(out, "%s\n", decision);
}
static struct kobj_attribute decision_attribute = __ATTR_RO(decision);

#define COUNTER(name)                                                                   \
  static ssize_t name##_show(struct kobject* kobject, struct kobj_attribute* attribute, \
                             char* out) {                                               \
    return sysfs_emit(out, "%llu\n", name);                                             \
  }                                                                                     \
  static struct kobj_attribute name##_attribute = __ATTR_RO(name)
COUNTER(planned);
COUNTER(left_alone);
COUNTER(last_bytes);
COUNTER(last_moved_bytes);
COUNTER(last_control_bytes);

static struct attribute* attributes[] = {&decision_attribute.attr,
                                         &planned_attribute.attr,
                                         &left_alone_attribute.attr,
                                         &last_bytes_attribute.attr,
                                         &last_moved_bytes_attribute.attr,
                                         &last_control_bytes_attribute.attr,
                                         NULL};
static const struct attribute_group group = {.attrs = attributes};

static int __init refuse(int error, const char* why) {
  pr_err("not loaded: %s\n", why);
  return error;
}

static int __init khop_relocate_init(void) {
  struct kimage *image, *copy;
  const char* why = NULL;
  int error;

  if (strcmp(init_uts_ns.name.release, UTS_RELEASE)) {
    return refuse(-EOPNOTSUPP, "it was built for another kernel than this one");
  }
  if (security_locked_down(LOCKDOWN_KPROBES)) {
    return refuse(-EPERM, "the kernel is locked down and allows no probes");
  }
  conduit = find_conduit();
  if (conduit == KHOP_PSCI_NONE) {
    return refuse(-EOPNOTSUPP, "without PSCI a hop that fails could not reset the machine");
  }
  loaded_image = find_loaded_image();
  if (!loaded_image) {
    return refuse(-EOPNOTSUPP, "kernel_kexec does not look as expected, or there are no kprobes");
  }
  /* An image that is there already tells whether struct kimage is the one known here. Its pages are
   * not looked at: it could be unloaded meanwhile. */
  copy = kmalloc(sizeof(*copy), GFP_KERNEL);
  if (!copy) return refuse(-ENOMEM, "no memory");
  if (!copy_from_kernel_nofault(&image, loaded_image, sizeof(image)) && image) {
    why = copy_from_kernel_nofault(copy, image, sizeof(*copy)) ? "kexec_image cannot be read"
                                                               : check_kimage(copy);
  }
  kfree(copy);
  if (why) return refuse(-EOPNOTSUPP, why);

  error = register_kprobe(&hook);
  if (error) return refuse(error, "the hook at machine_kexec is not to be had");
  error = register_kretprobe(&kexec_hook);
  if (error) {
    unregister_kprobe(&hook);
    return refuse(error, "the hook at kernel_kexec is not to be had");
  }
  directory = kobject_create_and_add("khop_relocate", kernel_kobj);
  error = directory ? sysfs_create_group(directory, &group) : -ENOMEM;
  if (!error) error = register_reboot_notifier(&notifier);
  if (error) {
    kobject_put(directory);
    unregister_kretprobe(&kexec_hook);
    unregister_kprobe(&hook);
    return refuse(error, "no entry in sysfs or among the reboot notifiers");
  }
  pr_info("kexec images will be relocated with the MMU on\n");
  return 0;
}

static void __exit khop_relocate_exit(void) {
  unregister_reboot_notifier(&notifier);
  kobject_put(directory);
  unregister_kretprobe(&kexec_hook);
  unregister_kprobe(&hook);
  forget_plan();
}
module_exit(khop_relocate_exit);

#endif /* Linux 5.10 */

module_init(khop_relocate_init);
