// One migration of the host world: the steps of its client, and the transfer between the two QEMUs. The two sides have only the
// few states that the search of one migration has shown to be sufficient; their inner states are searched there, not here.

import type { Rule } from "../components.js";
import { destinationAs, isUp, led, machineOf, presence, qemu, source } from "./parts.js";
import { confirms, settles } from "./questions.js";
import { atDestination, atSource, endsAtSource } from "./sides.js";
import { calm, fault, givenTo, hostName, requested, type Seen, type Surroundings } from "./surroundings.js";

export function migrationRules(surroundings: Surroundings, id: number): Rule[] {
  const { parts, migrations } = surroundings;
  const migration = migrations[id];
  const own = parts.migrations[id];
  const s = migration && parts.hosts[migration.from];
  const d = migration && parts.hosts[migration.to];
  if (own === undefined || s === undefined || d === undefined)
    throw new RangeError(`migration ${id} does not exist`);
  const names = { sName: hostName(migration?.from ?? 0), dName: hostName(migration?.to ?? 0) };
  const seen = { id, own, before: parts.migrations[id - 1], s, d, to: migration?.to ?? 0, ...names };
  return [
    begins(surroundings, seen),
    prepares(surroundings, seen),
    streams(seen),
    atSource(surroundings, seen),
    atDestination(surroundings, seen),
    settles(surroundings, seen),
    confirms(surroundings, seen),
    endsAtSource(surroundings, seen),
  ];
}

export function begins({ species, rules }: Surroundings, { id, own, before, s, sName }: Seen): Rule {
  return {
    reads: [s.machine, own.led, s.qemu, ...(before === undefined ? [] : [before.led])],
    moves: (read) => {
      const isTurn = before === undefined || read(before.led) !== led.nothing;
      if (!isUp(read, s) || read(own.led) !== led.nothing || !isTurn) return [];
      const { is, mute } = read(s.qemu);
      if (is === "absent" || mute) return [];
      const machine = machineOf(read, s);
      const { to, refused } = species.send(machine, { type: "peer.beginRequested", migrationId: String(id) });
      if (refused || to === machine) return [];
      const isRecorded = rules.keeps.has("the departure of a guest is recorded before anything is sent");
      return [
        requested(`migration ${id} begins at ${sName}`, [
          s.machine.becomes(to),
          own.led.becomes(led.begun),
          own.source.becomes(source("begun")),
          ...(isRecorded ? [s.presence.becomes(presence("out", id))] : []),
        ]),
      ];
    },
  };
}

/** Delivers Prepare, in time or late, once or repeatedly. */
export function prepares({ species, rules, migrations }: Surroundings, { id, own, d, dName }: Seen): Rule {
  return {
    reads: [d.machine, d.qemu, d.presence, own.destination, own.led, own.source],
    moves: (read) => {
      const there = read(own.destination);
      const to = read(own.led);
      if (to === led.nothing || there.unreadable || !isUp(read, d)) return [];
      const machine = machineOf(read, d);
      if (there.is === "none") {
        const step = species.send(machine, { type: "peer.prepareRequested", migrationId: String(id) });
        if (step.refused || step.to === machine) return [];
        return [
          calm(`Prepare ${id} reserves the guest at ${dName}`, [
            d.machine.becomes(step.to),
            own.destination.becomes(destinationAs(there, "reserving")),
          ]),
        ];
      }
      if (there.is !== "reserving" || givenTo(read, d, "arriving", id) === null) return [];
      const gone = species.send(machine, {
        type: "migration.ended",
        migrationId: String(id),
        found: { left: "nothing" },
      }).to;
      const { of, kept } = read(d.presence);
      const keepsAway =
        kept && of !== null && rules.keeps.has("an away guest stays away while its record is overwritten");
      const away = keepsAway ? [d.away.becomes(migrations[of]?.to ?? -1)] : [];
      return [
        fault(`${dName}'s disk is full as it records migration ${id}`, [
          d.machine.becomes(gone),
          own.destination.becomes(destinationAs(there, "none")),
        ]),
        calm(
          `${dName} prepares migration ${id}`,
          [
            ...away,
            d.presence.becomes(presence("in", id, { begun: true })),
            d.qemu.becomes(qemu("incoming", id)),
            own.destination.becomes(destinationAs(there, "listening")),
            ...(to === led.begun && read(own.source).is === "begun" ? [own.led.becomes(led.prepared)] : []),
          ],
          read(d.qemu).is === "absent" ? undefined : "G1: two QEMUs of one guest on one host",
        ),
      ];
    },
  };
}

/** QEMU transfers the memory independently of the daemons. */
export function streams({ id, own, s, d }: Seen): Rule {
  return {
    reads: [own.source, s.qemu, d.qemu],
    moves: (read) => {
      const [from, into] = [read(s.qemu), read(d.qemu)];
      const isSent = read(own.source).is === "performing" && from.is === "running";
      if (!isSent || into.is !== "incoming" || into.of !== id) return [];
      return [
        calm(`the guest's memory has been transferred by migration ${id}`, [
          s.qemu.becomes(qemu("sent", id, from.mute)),
          d.qemu.becomes(qemu("complete", id, into.mute)),
        ]),
      ];
    },
  };
}
