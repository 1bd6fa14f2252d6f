// What happens on one host of the host world beside migrations: the effects of its domain machine, the requests of its
// operators, and the question by which a host asks for its away guest back.

import type { DomainEvent } from "../../machines/domain/context.js";
import type { Change, Read, Rule, WorldMove } from "../components.js";
import type { DomainStanding } from "./domain-species.js";
import {
  type Asking,
  destinationAs,
  type HostParts,
  machineOf,
  type Parts,
  presence,
  qemu,
  sourceIsOpen,
} from "./parts.js";
import { calm, fault, hostName, requested, type Surroundings } from "./surroundings.js";

export const isUp = (read: Read, { machine }: HostParts): boolean => read(machine) !== null;
const others = ({ hosts }: Parts, host: number): HostParts[] => hosts.filter((_, other) => other !== host);

export function hostRules(surroundings: Surroundings, host: number): Rule[] {
  const here = surroundings.parts.hosts[host];
  if (here === undefined) throw new RangeError(`there is no host ${host}`);
  return [
    starting(surroundings, host, here),
    ending(surroundings, host, here),
    continuing(surroundings, host, here),
    conceding(surroundings, host, here),
    reclaiming(surroundings, host, here),
    asking(surroundings, host, here),
    ...requests(surroundings, host, here),
  ];
}

/** A guest is started: its record, then its QEMU, then that it is known to run. */
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
          moves.push(calm(`the QEMU of ${hostName(host)} comes up`, [here.qemu.becomes(qemu("booting"))]));
        else if (is === "booting")
          moves.push(
            calm(`${hostName(host)} sees its QEMU`, [
              here.qemu.becomes(qemu("running")),
              here.presence.becomes(presence("here")),
              parts.ended.becomes(false),
              completed("boot", true),
            ]),
          );
        else
          moves.push(
            calm(
              `a second QEMU comes up on ${hostName(host)}`,
              [completed("boot", true)],
              "G1: two QEMUs of one guest on one host",
            ),
          );
      }
      return moves;
    },
  };
}

/** A QEMU ends or has ended, and what is recorded of it is removed. */
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
          calm(`${hostName(host)} ends its QEMU`, [
            here.qemu.becomes(qemu("absent")),
            here.machine.becomes(species.complete(machine, "endQemu", true)),
          ]),
          fault(`the QEMU of ${hostName(host)} cannot be ended`, [
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
          calm(`${hostName(host)} sees that its QEMU is gone`, [
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

/** A question for the guest answers for the away record that it was asked about, and for no later one. */
export function recordChanges({ rules }: Surroundings, { asking: ask }: HostParts): Change[] {
  if (!rules.keeps.has("a concession answers for the away record that it was asked about")) return [];
  return [ask.changes("outdated", (now) => outdated[now] ?? now)];
}
const outdated: Partial<Record<Asking, Asking>> = {
  asked: "late",
  granting: "lateGranting",
  granted: "nothing",
};

export function fateOf({ migrations }: Parts, m: number) {
  const migration = migrations[m];
  if (migration === undefined) throw new RangeError(`there is no migration ${m}`);
  return migration.fate;
}

/** That the guest is away becomes durable, then the host that asked is told. */
function conceding(surroundings: Surroundings, host: number, here: HostParts): Rule {
  const { species, parts } = surroundings;
  const changed = recordChanges(surroundings, here);
  const askers = others(parts, host);
  return {
    reads: [here.machine, ...askers.map((asker) => asker.asking)],
    moves: (read) => {
      if (!isUp(read, here)) return [];
      const machine = machineOf(read, here);
      if (!machine.effects.has("recordAway")) return [];
      const isAsked = machine.state === "conceding";
      const asker = askers.find(
        (other) => isAsked && ["granting", "lateGranting"].includes(read(other.asking)),
      );
      const to = asker === undefined ? -1 : parts.hosts.indexOf(asker);
      const isAwaited = asker !== undefined && read(asker.asking) === "granting";
      const told = (answer: "granted" | "nothing"): Change[] =>
        asker === undefined ? [] : [asker.asking.becomes(isAwaited ? answer : "nothing")];
      const done = here.machine.becomes(species.complete(machine, "recordAway", true));
      const failed = here.machine.becomes(species.complete(machine, "recordAway", false));
      const written = here.away.becomes(to);
      return [
        calm(`${hostName(host)} records that the guest is away`, [
          written,
          done,
          ...changed,
          ...told("granted"),
        ]),
        fault(`${hostName(host)}'s disk is full as it concedes`, [failed, ...told("nothing")]),
        fault(`${hostName(host)}'s disk fails after it has written the concession`, [
          written,
          failed,
          ...changed,
          ...told("nothing"),
        ]),
      ];
    },
  };
}

/** The guest is this host's again: its away record goes, then it is started. */
function reclaiming(surroundings: Surroundings, host: number, here: HostParts): Rule {
  const { species } = surroundings;
  return {
    reads: [here.machine, here.asking],
    moves: (read) => {
      if (!isUp(read, here)) return [];
      const machine = machineOf(read, here);
      const ask = read(here.asking);
      const moves: WorldMove[] = [];
      if (machine.effects.has("forgetAway"))
        moves.push(
          calm(`${hostName(host)} removes its away record`, [
            here.away.becomes(null),
            here.machine.becomes(species.complete(machine, "forgetAway", true)),
            ...recordChanges(surroundings, here),
          ]),
          fault(`${hostName(host)}'s disk is full as it removes its away record`, [
            here.machine.becomes(species.complete(machine, "forgetAway", false)),
          ]),
        );
      if (ask === "granted") {
        const { to } = species.send(machine, { type: "peer.conceded" });
        moves.push(
          calm(`${hostName(host)} hears that the guest was conceded`, [
            here.machine.becomes(to),
            here.asking.becomes(to.state === "reclaiming" ? "reclaiming" : "nothing"),
          ]),
        );
      }
      if (ask === "reclaiming" && machine.state !== "reclaiming")
        moves.push(
          calm(`${hostName(host)} starts the guest that was conceded`, [
            here.machine.becomes(species.send(machine, start).to),
            here.asking.becomes("nothing"),
          ]),
        );
      return moves;
    },
  };
}

const start: DomainEvent = { type: "operator.startRequested", paused: false, xml: "" };

/** The question for an away guest reaches the host that it names, in time or late. */
function asking({ species, parts, rules }: Surroundings, host: number, here: HostParts): Rule {
  const asked = others(parts, host);
  return {
    reads: [here.asking, here.away, ...asked.flatMap(({ machine, defined }) => [machine, defined])],
    moves: (read) => {
      const ask = read(here.asking);
      if (ask !== "asked" && ask !== "late") return [];
      const moves = [
        calm(`${hostName(host)} waits no more for the concession`, [
          here.asking.becomes(ask === "asked" ? "late" : "nothing"),
        ]),
      ];
      const at = read(here.away);
      const peer = at === null ? undefined : parts.hosts[at];
      if (at === null || peer === undefined || !isUp(read, peer)) return moves;
      const machine = machineOf(read, peer);
      const { to, refused } = species.send(machine, { type: "peer.concedeRequested" });
      const isKnown = read(peer.defined) || machine.state !== "inactive";
      if (refused || !isKnown || to === machine)
        moves.push(calm(`${hostName(at)} does not concede`, [here.asking.becomes("nothing")]));
      else {
        const isDurableFirst = rules.keeps.has("the concession is durable before it is said");
        const granted = isDurableFirst ? "granting" : "granted";
        moves.push(
          calm(`${hostName(at)} is asked to concede`, [
            peer.machine.becomes(to),
            here.asking.becomes(ask === "asked" ? granted : "lateGranting"),
          ]),
        );
      }
      return moves;
    },
  };
}

function requests(surroundings: Surroundings, host: number, here: HostParts): Rule[] {
  const { species, parts, rules, migrations } = surroundings;
  const name = hostName(host);
  const comes = migrations.flatMap(({ to }, m) => (to === host ? [m] : []));
  const comings = comes.flatMap((m) => parts.migrations[m]?.destination ?? []);
  const sent = (
    machine: DomainStanding,
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
      if (!rules.keeps.has("an away guest is asked for before it is started"))
        return [requested(`${name} starts its away guest`, [here.asking.becomes("granted")])];
      return at < 0 ? [] : [requested(`${name} asks for its guest`, [here.asking.becomes("asked")])];
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
    reads: [here.machine, here.qemu, ...comings],
    moves: (read) => {
      if (!isUp(read, here)) return [];
      const machine = machineOf(read, here);
      const { is } = read(here.qemu);
      if (machine.state === "departing")
        return is === "absent"
          ? []
          : [
              requested(`${name} destroys the guest that leaves`, [
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
        requested(`${name} destroys the guest that comes`, [at.becomes(destinationAs(read(at), "refusing"))]),
      ];
    },
  };
  return [starts, plain, destroys, releases(surroundings, host, here)];
}

/**
 * A quarantine is released when no QEMU is here. An away guest is released only where that is true: no other host has a QEMU
 * of it, or can start it.
 */
function releases({ species, parts }: Surroundings, host: number, here: HostParts): Rule {
  const elsewhere = others(parts, host);
  return {
    reads: [
      here.machine,
      here.qemu,
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
        if (read(here.qemu).is !== "absent") return [];
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
