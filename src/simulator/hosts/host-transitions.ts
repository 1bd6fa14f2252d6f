// The moves of one host of the host world besides migrations: the effects of its domain machine on QEMU and on disk.

import type { Rule, WorldMove } from "../components.js";
import { fateOf, type HostParts, isUp, machineOf, presence, qemu } from "./parts.js";
import { calm, fault, hostAt, hostName, type Surroundings } from "./surroundings.js";

export function hostRules(surroundings: Surroundings, host: number): Rule[] {
  const here = hostAt(surroundings, host);
  return [
    starting(surroundings, host, here),
    ending(surroundings, host, here),
    continuing(surroundings, host, here),
  ];
}

/** Starts a guest: first its record, then its QEMU, then the host learns that it runs. */
function starting({ species, parts }: Surroundings, host: number, here: HostParts): Rule {
  return {
    reads: [here.machine, here.qemu],
    moves: (read) => {
      if (!isUp(read, here)) return [];
      const machine = machineOf(read, here);
      const { is } = read(here.qemu);
      const moves: WorldMove[] = [];
      const completed = (effect: string, done: boolean) =>
        here.machine.becomes(species.complete(machine, effect, done));
      if (machine.effects.has("recordStart")) {
        moves.push(
          calm(`${hostName(host)} records the start`, [
            here.presence.becomes(presence("starting")),
            completed("recordStart", true),
          ]),
          fault(`${hostName(host)}'s disk is full as it records the start`, [
            completed("recordStart", false),
          ]),
        );
      }
      if (machine.effects.has("boot")) {
        if (is === "absent")
          moves.push(calm(`the QEMU of ${hostName(host)} starts`, [here.qemu.becomes(qemu("booting"))]));
        else if (is === "booting")
          moves.push(
            calm(`${hostName(host)} detects its QEMU`, [
              here.qemu.becomes(qemu("running")),
              here.presence.becomes(presence("here")),
              parts.ended.becomes(false),
              completed("boot", true),
            ]),
          );
        else
          moves.push(
            calm(
              `a second QEMU starts on ${hostName(host)}`,
              [completed("boot", true)],
              "G1: two QEMUs of one guest on one host",
            ),
          );
      }
      return moves;
    },
  };
}

/** A QEMU ends or has ended, and its record is removed. */
function ending({ species }: Surroundings, host: number, here: HostParts): Rule {
  return {
    reads: [here.machine, here.qemu, here.presence],
    moves: (read) => {
      if (!isUp(read, here)) return [];
      const machine = machineOf(read, here);
      const isGone = read(here.qemu).is === "absent";
      const moves: WorldMove[] = [];
      if (machine.effects.has("endQemu"))
        moves.push(
          calm(`${hostName(host)} kills its QEMU`, [
            here.qemu.becomes(qemu("absent")),
            here.machine.becomes(species.complete(machine, "endQemu", true)),
          ]),
          fault(`the QEMU of ${hostName(host)} cannot be killed`, [
            here.machine.becomes(species.complete(machine, "endQemu", false)),
          ]),
        );
      if (machine.effects.has("forgetQemu")) {
        const { kept } = read(here.presence);
        moves.push(
          calm(`${hostName(host)} removes the guest's record`, [
            ...(kept ? [] : [here.presence.becomes(presence("none"))]),
            here.machine.becomes(species.complete(machine, "forgetQemu", true)),
          ]),
        );
      }
      if (machine.state.startsWith("active") && isGone)
        moves.push(
          calm(`${hostName(host)} detects that its QEMU is gone`, [
            here.machine.becomes(species.send(machine, { type: "process.exited" }).to),
          ]),
        );
      return moves;
    },
  };
}

/** An operator's `resume` reaches QEMU. */
function continuing({ species, parts, migrations }: Surroundings, host: number, here: HostParts): Rule {
  const left = migrations.flatMap(({ from }, m) => (from === host ? [m] : []));
  const fates = left.flatMap((m) => parts.migrations[m]?.fate ?? []);
  return {
    reads: [here.machine, here.qemu, ...fates],
    moves: (read) => {
      if (!isUp(read, here)) return [];
      const machine = machineOf(read, here);
      if (!machine.effects.has("continueVcpus")) return [];
      const { is, of, mute } = read(here.qemu);
      const hasRun = of !== null && is === "sent" && read(fateOf(parts, of)) === "ran";
      if (mute || is === "absent" || is === "incoming")
        return [
          calm(`the QEMU of ${hostName(host)} does not continue`, [
            here.machine.becomes(species.complete(machine, "continueVcpus", false)),
          ]),
        ];
      return [
        calm(
          `${hostName(host)} continues its QEMU`,
          [
            here.qemu.becomes(qemu("running")),
            here.machine.becomes(species.complete(machine, "continueVcpus", true)),
          ],
          hasRun ? "G3: a guest that has run at the destination is resumed at the source" : undefined,
        ),
      ];
    },
  };
}
