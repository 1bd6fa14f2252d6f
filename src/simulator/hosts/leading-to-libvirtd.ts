// The coordination of a migration to a libvirtd in the host world, and the conclusion of the source: either its own coordinator
// concludes from evidence (protocol/evidence.ts), or a client decides by its Confirm. The order of the effects is that of
// src/drivers/libvirt/{peers,arrival}.ts and src/daemon/{peer-to-peer,outgoing}.ts.

import { asDecision, type Seen as SeenThere } from "../../protocol/evidence.js";
import type { Change, Read, Rule, WorldMove } from "../components.js";
import { type BesideLibvirtd, cut, enters, type Window } from "./libvirtd-parts.js";
import { isUp, led, source } from "./parts.js";
import { calm, fault, givenTo, type Seen } from "./surroundings.js";

/** libvirt's ids for the two domains. */
const incomingId = 7;
const laterId = 8;

export function asksLibvirtd(world: BesideLibvirtd, seen: Seen): Rule[] {
  const rules = [asksFinish(world, seen), hears(world, seen)];
  return world.mode === "managed"
    ? [...rules, confirmsAsLed(world, seen), clientGoes(world, seen)]
    : [...rules, settlesByEvidence(world, seen)];
}

/** Our coordinator asks once more over a new connection; a client asks only over the connection of Prepare. */
function asksFinish({ libvirtd, mode, rules }: BesideLibvirtd, { own, s, dName }: Seen): Rule {
  return {
    reads: [
      s.machine,
      own.source,
      own.led,
      libvirtd.link,
      libvirtd.message,
      libvirtd.tries,
      libvirtd.finish,
      libvirtd.concluded,
      libvirtd.isLed,
    ],
    moves: (read) => {
      const tries = read(libvirtd.tries);
      const finish = read(libvirtd.finish);
      if (read(own.led) < led.performed || read(libvirtd.message) !== "none" || tries > 1) return [];
      if (finish !== "unsent" && finish !== "unanswered") return [];
      const isManaged = mode === "managed";
      if (isManaged && (tries > 0 || read(libvirtd.link) !== "open" || !read(libvirtd.isLed))) return [];
      if (!isManaged && !isUp(read, s)) return [];
      const { is, unreadable } = read(own.source);
      // The coordinator shares the story of the source.
      if (!isManaged && (is === "none" || unreadable)) return [];
      const isBack = is !== "handedOver" && is !== "killing" && is !== "left";
      const concluded = read(libvirtd.concluded);
      if (!isManaged && !rules.mayFinish({ concluded, isBack })) return [];
      return [
        calm(`${dName} receives Finish`, [
          libvirtd.message.becomes("asked"),
          libvirtd.isCut.becomes(false),
          libvirtd.tries.becomes(finish === "unsent" ? 1 : 2),
          libvirtd.finish.becomes("unanswered"),
        ]),
      ];
    },
  };
}

/** An error counts as the answer only if Finish was sent exactly once. */
function hears({ libvirtd, mode }: BesideLibvirtd, { s, dName }: Seen): Rule {
  return {
    reads: [s.machine, libvirtd.message, libvirtd.isCut, libvirtd.tries, libvirtd.isLed],
    moves: (read) => {
      const message = read(libvirtd.message);
      const isHeard = mode === "managed" ? read(libvirtd.isLed) : isUp(read, s);
      if (!isHeard || read(libvirtd.isCut) || (message !== "arrived" && message !== "failed")) return [];
      const isOnly = read(libvirtd.tries) === 1;
      if (message === "arrived")
        return [
          calm(`${dName} answers that the guest has arrived`, [
            libvirtd.message.becomes("none"),
            libvirtd.finish.becomes("arrived"),
          ]),
        ];
      return [
        calm(`${dName} answers Finish with an error`, [
          libvirtd.message.becomes("none"),
          ...(isOnly ? [libvirtd.finish.becomes("failed")] : []),
          ...(mode === "managed" ? [enters(libvirtd, "Finish fails after the handover")] : []),
        ]),
      ];
    },
  };
}

/** A source that has handed over collects evidence for which side runs the guest. */
function settlesByEvidence(world: BesideLibvirtd, { id, own, s, d, sName }: Seen): Rule {
  const { libvirtd, rules } = world;
  return {
    reads: [
      s.machine,
      own.source,
      d.qemu,
      libvirtd.domain,
      libvirtd.finish,
      libvirtd.isIdKnown,
      libvirtd.concluded,
    ],
    moves: (read) => {
      const { is, unreadable } = read(own.source);
      if (is !== "handedOver" || unreadable || givenTo(read, s, "departing", id) === null) return [];
      const conclusion =
        read(libvirtd.concluded) ??
        rules.conclude({
          protocol: 3,
          postcopy: false,
          prepare: "done",
          finish: read(libvirtd.finish),
          peer: { kind: "libvirtd", incomingId: read(libvirtd.isIdKnown) ? incomingId : null },
          seen: seenThere(world, d, read),
        });
      const answer = asDecision(conclusion);
      if (answer.kind !== "done") return [];
      return [
        calm(`${sName} concludes: ${conclusion}`, [
          libvirtd.concluded.becomes(conclusion),
          own.source.becomes(source(answer.value === "taken" ? "killing" : "resuming")),
        ]),
      ];
    },
  };
}

/** An incoming guest has a job without statistics in libvirt until Finish has ended. */
function seenThere({ libvirtd }: BesideLibvirtd, d: Seen["d"], read: Read): SeenThere {
  const domain = read(libvirtd.domain);
  if (domain === "none" || domain === "inactive") return { at: "absent" };
  if (domain === "later") return { at: "active", id: laterId, is: "running" };
  return { at: "active", id: incomingId, is: read(d.qemu).is === "running" ? "running" : "busy" };
}

/** After an error or no answer, the client's Confirm is cancelled: the source asks, but no peer can answer. */
function confirmsAsLed({ libvirtd, rules }: BesideLibvirtd, { id, own, s }: Seen): Rule {
  return {
    reads: [s.machine, own.source, libvirtd.finish, libvirtd.isLed],
    moves: (read) => {
      const { is, unreadable } = read(own.source);
      if (is !== "handedOver" || unreadable || givenTo(read, s, "departing", id) === null) return [];
      if (!read(libvirtd.isLed) || read(libvirtd.finish) !== "arrived") return [];
      if (!rules.confirmCounts({ isProven: false, isAskable: false })) return [];
      return [calm("the client's Confirm is delivered", [own.source.becomes(source("killing"))])];
    },
  };
}

function clientGoes(world: BesideLibvirtd, { own }: Seen): Rule {
  const { libvirtd } = world;
  return {
    faultsOnly: true,
    reads: [own.led, own.source, libvirtd.isLed, libvirtd.link, libvirtd.message],
    moves: (read): WorldMove[] =>
      read(own.led) === led.nothing || !read(libvirtd.isLed)
        ? []
        : [
            fault("the client is gone", [
              libvirtd.isLed.becomes(false),
              ...cut(libvirtd, read),
              ...leftBehind(world, own, read, "the client is gone"),
            ]),
          ],
  };
}

/** No further Perform arrives. After a Perform the guest can be handed over without a coordinator that sends Finish. */
function leftBehind({ libvirtd }: BesideLibvirtd, own: Seen["own"], read: Read, window: Window): Change[] {
  const { is } = read(own.source);
  if (is === "begun") return [own.led.becomes(led.begun)];
  return is === "performing" || is === "handedOver" ? [enters(libvirtd, window)] : [];
}

/** The remains after the death of the source's daemon: Finish may have been sent as soon as Prepare was done. */
export function deathOfLeader(world: BesideLibvirtd, { own }: Seen, read: Read): Change[] {
  const { libvirtd, mode } = world;
  const reached = read(own.led);
  if (reached < led.begun) return [];
  return [
    libvirtd.link.changes("broken", (link) => (link === "open" ? "broken" : link)),
    libvirtd.isCut.changes("cut", () => true),
    libvirtd.concluded.becomes(null),
    ...(mode === "managed" ? [libvirtd.isLed.becomes(false)] : []),
    ...(reached >= led.prepared ? [libvirtd.finish.becomes("unanswered")] : []),
    ...leftBehind(world, own, read, "the source's daemon restarts"),
  ];
}
