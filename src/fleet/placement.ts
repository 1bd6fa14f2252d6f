// Where a guest goes: a port, with a default that keeps groups apart and spreads what it places.

import type { FleetGuest, HostLoad } from "./fleet.js";

/** The best of the hosts that may take the guest, by name; null when none should. They are given in no order. */
export type Placement = (guest: FleetGuest, candidates: readonly HostLoad[]) => string | null;

/** Whether a host could take the guest at all, whatever the placement thinks of it. */
export const mayTake = (guest: FleetGuest, load: HostLoad): boolean =>
  load.fits(guest) && !load.has(guest.group);

/** The host whose fuller resource would be the least full. */
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
