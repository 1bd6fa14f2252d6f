// Filters a list of domains by libvirt's list flags.

import { isActive, type ManagedDomain } from "../domains/managed-domain.js";

export const listFlags = {
  active: 1,
  inactive: 2,
  persistent: 4,
  transient: 8,
  running: 16,
  paused: 32,
  shutoff: 64,
  other: 128,
  managedSave: 256,
  noManagedSave: 512,
  autostart: 1_024,
  noAutostart: 2_048,
  snapshot: 4_096,
  noSnapshot: 8_192,
  checkpoint: 16_384,
  noCheckpoint: 32_768,
};

/** A domain is listed if it matches one flag of every group; a group without flags matches every domain. */
export function isListed(entry: ManagedDomain, flags: number): boolean {
  const { definition, state, autostart } = entry;
  const groups = [
    { active: isActive(entry), inactive: !isActive(entry) },
    { persistent: definition !== null, transient: definition === null },
    {
      running: state.name === "running",
      paused: state.name === "paused",
      shutoff: state.name === "shutoff",
      other: !["running", "paused", "shutoff"].includes(state.name),
    },
    { managedSave: false, noManagedSave: true },
    { autostart, noAutostart: !autostart },
    { snapshot: false, noSnapshot: true },
    { checkpoint: false, noCheckpoint: true },
  ];
  return groups.every((group) => {
    const wanted = Object.entries(group).filter(
      ([name]) => (flags & listFlags[name as keyof typeof listFlags]) !== 0,
    );
    return wanted.length === 0 || wanted.some(([, fits]) => fits);
  });
}
