// The requests of operators at one host of the host world.

import type { DomainEvent } from "../../machines/domain/context.js";
import { topState } from "../../machines/shared/state-name.js";
import type { Change, Read, Rule, WorldMove } from "../components.js";
import { start } from "./concessions.js";
import type { DomainMachineState } from "./domain-model.js";
import { destinationAs, type HostParts, isUp, machineOf, type Parts, qemu, sourceIsOpen } from "./parts.js";
import { hostAt, hostName, others, requested, type Surroundings } from "./surroundings.js";

export function requestRules(surroundings: Surroundings, host: number): Rule[] {
  return requests(surroundings, host, hostAt(surroundings, host));
}

function requests(surroundings: Surroundings, host: number, here: HostParts): Rule[] {
  const { species, parts, rules, migrations } = surroundings;
  const name = hostName(host);
  const comes = migrations.flatMap(({ to }, m) => (to === host ? [m] : []));
  const comings = comes.flatMap((m) => parts.migrations[m]?.destination ?? []);
  const sent = (
    machine: DomainMachineState,
    event: DomainEvent,
    more: readonly Change[] = [],
  ): readonly WorldMove[] => {
    const { to, refused } = species.send(machine, event);
    if (refused || to === machine) return [];
    return [requested(`${event.type} at ${name}`, [here.machine.becomes(to), ...more])];
  };
  const starts: Rule = {
    reads: [here.machine, here.away, here.defined, here.asking],
    moves: (read) => {
      if (!isUp(read, here) || !read(here.defined) || read(here.asking) !== "nothing") return [];
      const at = read(here.away);
      if (at === null) return sent(machineOf(read, here), start);
      if (!rules.keeps.has("an away guest is reclaimed before it is started"))
        return [requested(`${name} starts its away guest without asking`, [here.asking.becomes("granted")])];
      return at < 0 ? [] : [requested(`${name} reclaims its guest`, [here.asking.becomes("asked")])];
    },
  };
  const plain: Rule = {
    reads: [here.machine, here.defined],
    moves: (read) => {
      if (!isUp(read, here)) return [];
      const machine = machineOf(read, here);
      const { refused } = species.send(machine, { type: "operator.undefineRequested" });
      return [
        ...sent(machine, { type: "operator.resumeRequested" }),
        ...(read(here.defined) && !refused
          ? [requested(`the guest is undefined at ${name}`, [here.defined.becomes(false)])]
          : []),
      ];
    },
  };
  const destroys: Rule = {
    reads: [here.machine, here.qemu, here.presence, ...comings, ...sourcesOf(surroundings, host)],
    moves: (read) => {
      if (!isUp(read, here) || isOwedAnAnswer(parts, here, read)) return [];
      const machine = machineOf(read, here);
      const { is } = read(here.qemu);
      if (topState(machine.state) === "departing")
        return is === "absent"
          ? []
          : [
              requested(`${name} destroys the departing guest`, [
                here.qemu.becomes(qemu("absent")),
                parts.ended.becomes(true),
              ]),
            ];
      if (machine.state !== "arriving")
        return sent(machine, { type: "operator.destroyRequested" }, [parts.ended.becomes(true)]);
      const coming = comes.find((m) => String(m) === machine.migrationId);
      const at = coming === undefined ? undefined : parts.migrations[coming]?.destination;
      if (at === undefined || read(at).is !== "listening") return [];
      return [
        requested(`${name} destroys the arriving guest`, [at.becomes(destinationAs(read(at), "refusing"))]),
      ];
    },
  };
  return [starts, plain, destroys, releases(surroundings, host, here)];
}

/**
 * A quarantine can be released when this host has no QEMU of the guest. An away guest can be released only when that is safe: no
 * other host has a QEMU of the guest or can start it.
 */
function releases({ species, parts }: Surroundings, host: number, here: HostParts): Rule {
  const elsewhere = others(parts, host);
  return {
    reads: [
      here.machine,
      here.qemu,
      here.presence,
      ...parts.migrations.map((migration) => migration.destination),
      ...elsewhere.flatMap(({ machine, qemu: there, orphan, defined, away, asking: ask }) => [
        machine,
        there,
        orphan,
        defined,
        away,
        ask,
      ]),
      ...parts.migrations.map((migration) => migration.source),
    ],
    moves: (read) => {
      if (!isUp(read, here)) return [];
      const machine = machineOf(read, here);
      const { to, refused } = species.send(machine, { type: "operator.releaseRequested" });
      if (refused || to === machine) return [];
      if (machine.quarantined) {
        if (read(here.qemu).is !== "absent" || isOwedAnAnswer(parts, here, read)) return [];
        const known =
          to.state === "examining"
            ? species.send(to, { type: "host.examined", found: { left: "nothing" } }).to
            : to;
        return [
          requested(`${hostName(host)} releases its quarantined guest`, [
            here.machine.becomes(known),
            parts.ended.becomes(true),
          ]),
        ];
      }
      const isTrue =
        elsewhere.every(
          (other) =>
            read(other.qemu).is === "absent" &&
            read(other.orphan) === "none" &&
            read(other.asking) === "nothing" &&
            read(other.machine)?.state === "inactive" &&
            (!read(other.defined) || read(other.away) !== null),
        ) && parts.migrations.every(({ source }) => !sourceIsOpen(read(source)));
      if (!isTrue) return [];
      return [requested(`${hostName(host)} releases its away guest`, [here.machine.becomes(to)])];
    },
  };
}

const sourcesOf = ({ parts, migrations }: Surroundings, host: number) =>
  migrations.flatMap(({ to }, m) => (to === host ? (parts.migrations[m]?.source ?? []) : []));

/**
 * Returns whether the story of an arrived guest is lost while its source still asks. Releasing the guest would make this host
 * forget that it does not know the answer: its record is the last one that names the migration.
 */
function isOwedAnAnswer(parts: Parts, here: HostParts, read: Read): boolean {
  const { is, of } = read(here.presence);
  const coming = is === "in" && of !== null ? parts.migrations[of] : undefined;
  if (coming === undefined) return false;
  const { is: there, unreadable } = read(coming.destination);
  return there === "none" && !unreadable && sourceIsOpen(read(coming.source));
}
