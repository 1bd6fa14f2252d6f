// A migration that this process coordinates (managed): the coordinator's machine over two remote sides, each a switchoverd or
// a libvirtd.

import { waitFor } from "xstate";
import { memoryJournal } from "../../drivers/journal/memory-journal.js";
import { noSteps } from "../../drivers/libvirt/client/arrival.js";
import { migrationNamedIn } from "../../drivers/libvirt/client/named-migration.js";
import { checkAskedById, featuresOf, negotiateManaged } from "../../drivers/libvirt/client/negotiation.js";
import { checkOtherHost } from "../../drivers/libvirt/client/other-host.js";
import { remoteDestination, remoteSource, type Travelling } from "../../drivers/libvirt/client/peers.js";
import { stepCalls } from "../../drivers/libvirt/client/protocol-calls.js";
import type { Redial } from "../../drivers/libvirt/client/reconnecting-client.js";
import { RpcConnectError } from "../../drivers/libvirt/rpc/errors.js";
import { openCoordinator } from "../../effects/actors.js";
import type { EffectInterceptor } from "../../effects/bind.js";
import type { DestinationPeer, Journal, SettlingPeer, SourcePeer } from "../../effects/ports.js";
import type { Inspect, Observation, Observe } from "../../effects/trace.js";
import type { Notice } from "../../machines/shared/actions.js";
import { defaultDeadlines } from "../../protocol/deadlines.js";
import { unknown } from "../../protocol/effect-result.js";
import type { Abort, Identity } from "../../protocol/messages.js";
import { outcomes } from "../../protocol/outcomes.js";
import { anywhere } from "../../protocol/peer-text.js";
import { errorOf } from "../migration-handle.js";
import type { Led, RemoteMove } from "./types.js";

export interface Coordinated {
  readonly journal?: Journal | undefined;
  readonly observe?: Observe | undefined;
  readonly inspect?: Inspect | undefined;
  readonly around?: EffectInterceptor | undefined;
}

/** @throws LibvirtError when the hosts have no protocol in common; in that case nothing has been changed. */
export async function coordinateFromHere(
  { source, destination, dom, asked, clock, migrationId }: RemoteMove,
  { journal = memoryJournal(), observe, inspect, around }: Coordinated,
): Promise<Led> {
  const { parameters } = asked;
  const identity = { migrationId, uuid: dom.uuid, name: parameters.name ?? dom.name };
  const { calls, protects } = await negotiated(source, destination, asked);
  // Set on every source that supports it, whether requested or not.
  const flags = new Set([...asked.flags].filter((flag) => flag !== "CHANGE_PROTECTION"));
  const travelling: Travelling = {
    cookies: {},
    xml: "",
    flags,
    nameAtSource: dom.name,
    steps: noSteps(),
  };
  const steps = { flags, parameters, protects, calls: async () => calls };
  const [here, there] = settlingFirst(
    remoteSource(source, dom, steps, travelling),
    remoteDestination(destination, identity, { ...steps, reach: anywhere }, travelling),
    identity,
    () => travelling.steps.idThere !== null && migrationNamedIn(travelling.cookies.begin, dom) !== undefined,
  );
  const seen = observe && underTheHostsId(observe, () => migrationIn(travelling, dom));
  const surroundings = { journal, clock, around, observe: seen?.observe, inspect };
  const actor = openCoordinator(surroundings, { identity, deadlines: defaultDeadlines }, here, there);
  actor.start();
  return {
    outcome: waitFor(actor, (snapshot) => snapshot.status !== "active").then(({ output }) => {
      seen?.end();
      if (output === undefined) throw new Error("bug: the coordinator ended without an outcome");
      const { kind } = output;
      return { kind, runs: outcomes[kind].runs, error: kind === "arrived" ? null : errorOf(kind, output) };
    }),
    abort: () =>
      new Promise<Abort>((resolve) => {
        const said = (aside: Notice) => {
          if (aside.type === "refused") resolve({ accepted: false, why: aside.why });
        };
        actor.on("*", said);
        if (actor.getSnapshot().status !== "active")
          resolve({ accepted: false, why: "the migration has ended" });
        else actor.send({ type: "operator.aborted" });
        void waitFor(
          actor,
          (snapshot) => snapshot.status !== "active" || snapshot.matches({ performing: "aborted" }),
        ).then(() => resolve({ accepted: true, why: "the migration is being cancelled" }));
      }),
  };
}

/** Returns the hosts' id of the migration, once a cookie of theirs contains it. */
const migrationIn = ({ cookies }: Travelling, dom: Pick<Identity, "name" | "uuid">) =>
  migrationNamedIn(cookies.begin, dom) ?? migrationNamedIn(cookies.prepare, dom);

/** Holds observations back until the hosts' id is known, so that all three parties share one story and one trace. */
function underTheHostsId(observe: Observe, idOfHosts: () => string | undefined) {
  let known: string | undefined;
  let waiting: Observation[] = [];
  const tell = (migrationId: string | undefined) => {
    for (const seen of waiting) observe(migrationId === undefined ? seen : { ...seen, migrationId });
    waiting = [];
  };
  return {
    observe: (observation: Observation) => {
      waiting.push(observation);
      known ??= idOfHosts();
      if (known !== undefined) tell(known);
    },
    /** When neither host is a switchoverd, the observations keep this process's id. */
    end: () => tell(known),
  };
}

/** @throws LibvirtError when the hosts have no suitable protocol in common. */
async function negotiated(source: Redial, destination: Redial, asked: RemoteMove["asked"]) {
  await checkOtherHost(source, destination);
  const featuresAt = async (host: Redial) => featuresOf(await host.rpc());
  const [here, there] = await Promise.all([featuresAt(source), featuresAt(destination)]);
  const protocol = negotiateManaged(here, there, asked);
  if (protocol === "version 1")
    throw new RpcConnectError(
      `${source.uri} and ${destination.uri} share only version 1 of the migration protocol, which libvirt never supported for QEMU`,
    );
  if (protocol === "version 2") await checkAskedById(await destination.rpc());
  return {
    calls: stepCalls(protocol, { xmlMigratable: here.has("xmlMigratable") }),
    protects: protocol !== "version 2" && here.has("migrateChangeProtection"),
  };
}

/**
 * A libvirtd resumes its guest at a cancelled Confirm, whatever the destination does. Once the destination was asked to run the
 * guest, a cancelled Confirm therefore requires evidence that it does not run it. Upholds G1. Two switchoverds settle
 * themselves.
 */
function settlingFirst(
  here: SourcePeer,
  there: DestinationPeer & Pick<SettlingPeer, "settle">,
  identity: Identity,
  isSettledBetweenThem: () => boolean,
): [SourcePeer, DestinationPeer] {
  let mayRunThere = false;
  const finish: DestinationPeer["finish"] = (words, signal) => {
    mayRunThere ||= !words.cancelled;
    return there.finish(words, signal);
  };
  const confirm: SourcePeer["confirm"] = async ({ cancelled }, signal) => {
    if (!cancelled || !mayRunThere || isSettledBetweenThem()) return here.confirm({ cancelled }, signal);
    const decision = await there.settle(identity, signal);
    if (decision.kind !== "done") return unknown(decision.cause.message);
    return here.confirm({ cancelled: decision.value === "refused" }, signal);
  };
  return [
    { ...here, confirm },
    { ...there, finish },
  ];
}
