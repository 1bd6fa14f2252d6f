// The source and the destination of one migration of the host world, and the records of each host at the end of its side.

import type { Rule } from "../components.js";
import { recordChanges } from "./concessions.js";
import { destinationAs, led, presence, qemu, source } from "./parts.js";
import { calm, fault, givenTo, type Seen, type Surroundings } from "./surroundings.js";

export function atSource({ rules }: Surroundings, { id, own, s, sName }: Seen): Rule {
  const isRecorded = rules.keeps.has("the departure of a guest is recorded before anything is sent");
  return {
    reads: [s.machine, s.qemu, own.source, own.led, own.fate],
    moves: (read) => {
      if (givenTo(read, s, "departing", id) === null) return [];
      const { is, unreadable } = read(own.source);
      const { is: qemuIs, of, mute } = read(s.qemu);
      if (unreadable) return [];
      const isSent = qemuIs === "sent" && of === id;
      const fate = read(own.fate);
      const becomes = (next: Parameters<typeof source>[0]) => own.source.becomes(source(next));
      const isBefore = is === "begun" || is === "performing";
      if (qemuIs === "absent" && (isBefore || is === "resuming"))
        return [calm(`${sName} has lost the guest of migration ${id}`, [becomes("lost")])];
      if (is === "performing" && isSent)
        return [
          calm(`${sName} has handed the guest over by migration ${id}`, [
            becomes("handedOver"),
            own.led.changes("performed", (to) => Math.max(to, led.performed)),
          ]),
        ];
      if (isBefore)
        return [
          ...(is === "begun" && read(own.led) >= led.prepared && qemuIs === "running"
            ? [
                calm(`Perform ${id} is delivered`, [
                  becomes("performing"),
                  ...(isRecorded ? [s.presence.becomes(presence("out", id, { begun: true }))] : []),
                ]),
              ]
            : []),
          ...(mute ? [] : [calm(`migration ${id} is given up at ${sName}`, [becomes("stayed")])]),
        ];
      if (is === "killing")
        return [
          calm(
            `${sName} kills its copy after migration ${id}`,
            [s.qemu.becomes(qemu("absent")), becomes("left")],
            fate === "open" && qemuIs !== "absent"
              ? "G3: a source's copy is killed before the destination has taken the guest"
              : undefined,
          ),
        ];
      if (is === "resuming" && !mute)
        return [
          calm(
            `${sName} resumes its guest after migration ${id}`,
            [s.qemu.becomes(qemu("running")), becomes("stayed")],
            fate === "ran"
              ? "G3: a guest that has run at the destination is resumed at the source"
              : undefined,
          ),
        ];
      return [];
    },
  };
}

export function atDestination(surroundings: Surroundings, { id, own, d, dName }: Seen): Rule {
  const { species, rules } = surroundings;
  return {
    reads: [d.machine, d.qemu, own.destination, own.led],
    moves: (read) => {
      const machine = givenTo(read, d, "arriving", id);
      const there = read(own.destination);
      if (machine === null || there.unreadable) return [];
      const { is: qemuIs, of, mute } = read(d.qemu);
      const becomes = (next: typeof there.is) => own.destination.becomes(destinationAs(there, next));
      const ended = (left: "running" | "nothing") =>
        d.machine.becomes(
          species.send(machine, { type: "migration.ended", migrationId: String(id), found: { left } }).to,
        );
      const isWhole = qemuIs === "complete" && of === id;
      const ran = own.fate.becomes("ran");
      switch (there.is) {
        case "listening": {
          const moves = [calm(`migration ${id} is given up at ${dName}`, [becomes("refusing")])];
          if (!isWhole || mute || read(own.led) < led.performed) return moves;
          const isDurable = rules.keeps.has("taken is durable before the guest runs");
          moves.push(
            isDurable
              ? calm(`Finish ${id} is delivered`, [becomes("taking"), own.fate.becomes("taken")])
              : calm(`Finish ${id} is delivered and executed at once`, [
                  d.qemu.becomes(qemu("running")),
                  ran,
                ]),
            fault(`${dName}'s disk is full as it takes the guest`, [becomes("refusing")]),
          );
          return moves;
        }
        case "taking":
          if (qemuIs === "absent")
            return [calm(`${dName} has lost the guest after taking it`, [becomes("lost"), ended("nothing")])];
          if (mute) return [];
          if (isWhole)
            return [
              calm(`${dName} runs the guest of migration ${id}`, [d.qemu.becomes(qemu("running")), ran]),
            ];
          return [
            calm(`migration ${id} has arrived at ${dName}`, [
              becomes("arrived"),
              own.led.changes("finished", () => led.finished),
            ]),
          ];
        case "arrived":
          return [
            calm(`${dName} registers the guest of migration ${id}`, [
              d.defined.becomes(true),
              d.away.becomes(null),
              ...recordChanges(surroundings, d),
              d.presence.becomes(presence("here")),
              ended("running"),
            ]),
          ];
        case "refusing":
          return [
            calm(`${dName} kills the guest received by migration ${id}`, [
              d.qemu.becomes(qemu("absent")),
              becomes("refused"),
              ended("nothing"),
            ]),
          ];
        case "refused":
          return [calm(`${dName} is done with migration ${id}`, [ended("nothing")])];
        default:
          return [];
      }
    },
  };
}

/** The record of the source's host when its side has ended. */
export function endsAtSource(surroundings: Surroundings, { id, own, s, to, sName }: Seen): Rule {
  const { species, rules } = surroundings;
  return {
    reads: [s.machine, s.qemu, s.defined, own.source],
    moves: (read) => {
      const machine = givenTo(read, s, "departing", id);
      const { is, unreadable } = read(own.source);
      if (machine === null || unreadable) return [];
      const left = (found: "running" | "paused" | "nothing" | "away") =>
        s.machine.becomes(
          species.send(machine, { type: "migration.ended", migrationId: String(id), found: { left: found } })
            .to,
        );
      if (is === "lost") return [calm(`${sName} is done with migration ${id}`, [left("nothing")])];
      if (is === "stayed") {
        const { is: qemuIs } = read(s.qemu);
        const found = qemuIs === "absent" ? "nothing" : qemuIs === "running" ? "running" : "paused";
        return [
          calm(`${sName} keeps its guest after migration ${id}`, [
            ...(found === "nothing" ? [] : [s.presence.becomes(presence("here"))]),
            left(found),
          ]),
        ];
      }
      if (is !== "left") return [];
      if (!read(s.defined) || !rules.keeps.has("a guest that has left is recorded as away"))
        return [calm(`the guest has left ${sName} by migration ${id}`, [left("nothing")])];
      return [
        calm(`${sName} records that the guest left by migration ${id}`, [s.away.becomes(to), left("away")]),
        fault(`${sName}'s disk is full as it records that the guest left`, [
          s.presence.becomes(presence("out", id, { kept: true, begun: true })),
          left("away"),
        ]),
      ];
    },
  };
}
