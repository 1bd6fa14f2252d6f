// libvirt's job phases with libvirt's numbers, as a restarted daemon or a libvirt tool reads them from a job. Source:
// enum qemuMigrationJobPhase, src/qemu/qemu_migration.h.

export const phases = {
  none: 0,
  perform2: 1,
  begin3: 2,
  perform3: 3,
  perform3_done: 4,
  confirm3_cancelled: 5,
  confirm3: 6,
  prepare: 7,
  finish2: 8,
  finish3: 9,
  postcopy_failed: 10,
  begin_resume: 11,
  perform_resume: 12,
  confirm_resume: 13,
  prepare_resume: 14,
  finish_resume: 15,
} as const;

export type Phase = keyof typeof phases;

/** Returns whether a job may go from one phase to another: phases only grow; staying in one is allowed. */
export const phaseMayFollow = (from: Phase, to: Phase): boolean => phases[to] >= phases[from];
