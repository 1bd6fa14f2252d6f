// Merges states of the host world that differ only in finished migrations. A migration whose source has ended sends no further
// requests, so that its other parts matter only as far as a late message or a restart reads them.

import { type Component, given, type Merge, merge } from "../components.js";
import type { DomainMachineState } from "./domain-model.js";
import {
  destination,
  type HostParts,
  led,
  type Parts,
  type Presence,
  type Qemu,
  type Source,
  source,
  sourceIsOpen,
} from "./parts.js";
import type { Migration } from "./surroundings.js";

export function hostMerges({ hosts, migrations }: Parts, routes: readonly Migration[]): Merge[] {
  return migrations.flatMap((own, id) => {
    const route = routes[id];
    const s = route && hosts[route.from];
    const d = route && hosts[route.to];
    if (s === undefined || d === undefined) throw new RangeError(`migration ${id} does not exist`);
    const sourceIsOver = whether(own.source, (now: Source) => !sourceIsOpen(now));
    return [
      // Read by a source that kills or resumes its copy, and when a QEMU of the migration continues or dies.
      merge(
        own.fate,
        [sourceIsOver, ...hosts.map(({ qemu }) => whether(qemu, (now: Qemu) => now.of !== id))],
        (fate, classes) => (areAll(classes) ? "open" : fate),
      ),
      // Read by Perform, Confirm, and Finish of a guest whose memory has arrived.
      merge(
        own.led,
        [sourceIsOver, whether(d.qemu, ({ is, of }: Qemu) => is !== "complete" || of !== id)],
        (reached, classes) => (areAll(classes) ? Math.min(reached, led.begun) : reached),
      ),
      merge(own.destination, [sourceIsOver, ...isForgottenBy(d, "in", id)], (now, classes) => {
        if (!areAll(classes)) return now;
        const hasEnded = ["arrived", "lost", "refused"].includes(now.is);
        return destination(hasEnded ? "refused" : now.is, { unreadable: now.unreadable });
      }),
      merge(own.source, isForgottenBy(s, "out", id), (now, classes) => {
        const hasEnded = ["left", "stayed", "lost"].includes(now.is);
        return areAll(classes) && hasEnded ? source("lost", now.unreadable) : now;
      }),
    ];
  });
}

/** Returns whether neither the host's domain machine nor the guest's record names the migration. */
const isForgottenBy = ({ machine, presence }: HostParts, way: "in" | "out", id: number) => [
  whether(machine, (now: DomainMachineState | null) => now?.migrationId !== String(id)),
  whether(presence, ({ is, of }: Presence) => is !== way || of !== id),
];

const whether = <Value>(component: Component<Value>, isSo: (value: Value) => boolean) =>
  given(component, 2, (value) => Number(isSo(value)));
const areAll = (classes: readonly number[]): boolean => classes.every((one) => one === 1);
