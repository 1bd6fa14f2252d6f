// Chooses the destination of a guest: a port, with a default that keeps groups apart and spreads the load.

import type { FleetGuest, HostLoad } from "./fleet.js";

/** Returns the name of the best host among the candidates, which are unordered; null to place the guest on none. */
export type Placement = (guest: FleetGuest, candidates: readonly HostLoad[]) => string | null;

/** Returns true if a host can take the guest at all, independent of the placement. */
export const mayTake = (guest: FleetGuest, load: HostLoad): boolean =>
  load.fits(guest) && !load.has(guest.group);

/** Chooses the host whose most used resource, memory or CPUs, would be the least used. */
export const spread: Placement = (guest, candidates) => {
  let best: { readonly name: string; readonly fill: number } | null = null;
  for (const { host, usedMemoryBytes, usedCpus } of candidates) {
    const fill = Math.max(
      (usedMemoryBytes + guest.memoryBytes) / host.memoryBytes,
      (usedCpus + guest.cpus) / host.cpus,
    );
    if (best === null || fill < best.fill || (fill === best.fill && host.name < best.name))
      best = { name: host.name, fill };
  }
  return best?.name ?? null;
};
