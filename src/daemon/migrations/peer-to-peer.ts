// The coordinator of a peer-to-peer migration: lives in the source's daemon, beside the source, and reaches the
// destination by libvirt's procedures. It does not depend on the client, and is taken up again with the source.

import { waitFor } from "xstate";
import * as z from "zod/mini";
import { interrupted, wokenCoordinator } from "../../drivers/journal/story.js";
import type { OpenStory } from "../../drivers/journal/types.js";
import { noSteps, type Steps } from "../../drivers/libvirt/client/arrival.js";
import {
  areParameters,
  bitsOf,
  flagsOf,
  type MigrateFlag,
  type MigrateParameters,
} from "../../drivers/libvirt/client/flags.js";
import { checkAskedById, featuresOf, negotiateAsSource } from "../../drivers/libvirt/client/negotiation.js";
import { hostUuidAt, sameHost } from "../../drivers/libvirt/client/other-host.js";
import { remoteDestination, type Travelling } from "../../drivers/libvirt/client/peers.js";
import { type StepCalls, stepCalls } from "../../drivers/libvirt/client/protocol-calls.js";
import { Redial } from "../../drivers/libvirt/client/reconnecting-client.js";
import { openCoordinator } from "../../effects/actors.js";
import type { DestinationPeer, SourcePeer } from "../../effects/ports.js";
import type { CoordinatorInput, CoordinatorOutput } from "../../machines/coordinator/machine.js";
import { connectionUri } from "../../protocol/address-schemas.js";
import { type Answer, done, failed } from "../../protocol/effect-result.js";
import type { GuestDescription, Prepared } from "../../protocol/messages.js";
import { anywhere, type ConnectionUri, type StreamAddress } from "../../protocol/peer-text.js";
import { tunnelPrefix } from "../domains/qemu-builder.js";
import type { Host } from "../host.js";
import { withOwnCertificates } from "../own-pki.js";
import { reachOf } from "../reach.js";
import { libvirtError } from "../rpc/errors.js";
import type { Said } from "./cookies.js";
import type { Outgoing } from "./outgoing.js";
import type { StepRequest } from "./request.js";
import { oneWay, TunnelOut } from "./tunnel.js";

export const postcopyNeedsSwitchoverd =
  "post-copy needs a destination that takes the guest over from this host itself, which a libvirtd does not";

const endedWithUs =
  "this host's daemon was restarted, and a libvirtd ends an incoming guest with the connection that prepared it";

const kept = z.object({
  destinationUri: connectionUri,
  flags: z.number(),
  parameters: z.custom<MigrateParameters>(areParameters),
});

export interface PeerToPeerRequest {
  readonly destinationUri: ConnectionUri;
  readonly flags: ReadonlySet<MigrateFlag>;
  readonly parameters: MigrateParameters;
}

/** How the source's daemon reads and writes cookies. */
export interface Cookies {
  ofBegin(outgoing: Outgoing, guest: GuestDescription): Promise<Uint8Array>;
  preparedAt(outgoing: Outgoing, words: StepRequest, uri: StreamAddress): Prepared;
  ofPerform(outgoing: Outgoing, words: PeerToPeerRequest): Uint8Array;
  saidIn(outgoing: Outgoing, cookie: Uint8Array): Said | null;
}

/** Resolves when it has ended; never rejects. */
export function coordinate(
  host: Host,
  outgoing: Outgoing,
  cookies: Cookies,
  words: PeerToPeerRequest,
  woken?: CoordinatorInput["woken"],
): Promise<CoordinatorOutput> {
  const { surroundings, deadlines, clock } = host;
  const { destinationUri, parameters, flags } = words;
  const { identity, domain } = outgoing;
  const connect = () => new Redial(withOwnCertificates(host.config, destinationUri), clock);
  const connection = connect();
  const travelling: Travelling = {
    // The destination knows a coordinator that was restarted by the id in this cookie.
    cookies: woken === undefined ? {} : { perform: cookies.ofPerform(outgoing, words) },
    xml: parameters.xml ?? domain.xml,
    flags,
    nameAtSource: domain.name,
    steps: woken === undefined ? noSteps() : stepsBefore(woken, identity.migrationId),
  };
  const isTunnelled = flags.has("TUNNELLED");
  const directory = host.domains.directoryOf(`${tunnelPrefix}${identity.migrationId}`);
  const tunnel = isTunnelled ? new TunnelOut(connect(), directory) : null;
  const calls = (signal: AbortSignal) => callsTo(connection, words, tunnel, signal);
  // A tunnel ends in a socket of our own.
  const reach = isTunnelled ? anywhere : reachOf(host.config);
  const isBack = () => outgoing.isBack;
  const there = remoteDestination(
    connection,
    identity,
    { flags, parameters, calls, reach, isBack },
    travelling,
  );
  outgoing.proveBy(there.settleOver);
  const destination: DestinationPeer = {
    ...there,
    prepare: async (guest, signal) => {
      const same = await sameHostAs(host, connection, signal);
      if (same !== null) return same;
      if (woken?.memory.prepared?.incomingId !== undefined) return failed(endedWithUs);
      travelling.cookies.begin = await cookies.ofBegin(outgoing, guest);
      if (guest.guestWas === "paused") travelling.flags = new Set([...travelling.flags, "PAUSED"]);
      const answer = await there.prepare(guest, signal);
      if (answer.kind !== "done") return answer;
      const cookie = travelling.cookies.prepare ?? new Uint8Array();
      const { uri } = answer.value;
      const prepared = cookies.preparedAt(outgoing, { flags, parameters, cookie }, uri);
      if (isTunnelled && prepared.settle === undefined) return failed(oneWay);
      if (outgoing.postcopyAllowed && prepared.settle === undefined) return failed(postcopyNeedsSwitchoverd);
      const { incomingId } = answer.value;
      return done({ settle: destinationUri, ...prepared, ...(incomingId !== undefined && { incomingId }) });
    },
  };
  const source: SourcePeer = {
    ...outgoing.peer,
    confirm: ({ cancelled }, signal) => {
      const said = cookies.saidIn(outgoing, travelling.cookies.finish ?? new Uint8Array());
      return outgoing.confirm({ cancelled, said, client: null }, signal);
    },
    perform: async (prepared, signal) => {
      const answer = await outgoing.perform(prepared, signal);
      if (answer.kind === "done") travelling.cookies.perform = cookies.ofPerform(outgoing, words);
      return answer;
    },
  };
  const word = { destinationUri, flags: bitsOf(flags), parameters } satisfies z.infer<typeof kept>;
  const actor = openCoordinator(surroundings, { identity, deadlines, woken }, source, destination, word);
  actor.start();
  return waitFor(actor, (snapshot) => snapshot.status !== "active").then(({ output }) => {
    void connection.close();
    void tunnel?.close();
    if (output === undefined) throw new Error("the coordinator ended without an outcome");
    return output;
  });
}

/** Goes on with the coordinator of a source that has been taken up; null when it was a client's. */
export function coordinateAgain(
  host: Host,
  outgoing: Outgoing,
  cookies: Cookies,
  story: OpenStory,
): Promise<CoordinatorOutput> | null {
  const found = interrupted(story, "coordinator");
  if (found === null) return null;
  const { destinationUri, flags, parameters } = kept.parse(found.opened.host);
  const { woken } = wokenCoordinator(found);
  const words = { destinationUri, flags: flagsOf(flags).flags, parameters };
  return coordinate(host, outgoing, cookies, words, woken);
}

/** libvirt's own refusal, before the destination is asked for anything; null for another host. */
async function sameHostAs(
  { config }: Host,
  destination: Redial,
  signal: AbortSignal,
): Promise<Answer<never> | null> {
  try {
    const uuid = await hostUuidAt(destination, signal);
    return uuid === config.hostUuid.toLowerCase() ? failed(sameHost(config.hostUuid).message) : null;
  } catch {
    // Prepare reports why the destination cannot be asked.
    return null;
  }
}

/**
 * What was asked of the destination before this daemon was restarted: Finish may have been sent as soon as Prepare was
 * done, since its record is not waited for while the guest is paused.
 */
function stepsBefore({ state, memory }: NonNullable<CoordinatorInput["woken"]>, migrationId: string): Steps {
  const { prepared, destination } = memory;
  const concluded = { arrived: "taken", refused: "refused", lost: "lost", stuck: null } as const;
  const wasCancelled = prepared === null || state.startsWith("finishingCancelled");
  return {
    prepare: prepared === null ? "unanswered" : "done",
    finish: wasCancelled ? "unsent" : "unanswered",
    incomingId: prepared?.incomingId ?? null,
    // Asked by id, a libvirtd whose domain was not seen gives no answer.
    idThere: prepared?.incomingId === undefined ? migrationId : null,
    concluded: destination === null ? null : concluded[destination.outcome],
  };
}

async function callsTo(
  destination: Redial,
  words: PeerToPeerRequest,
  tunnel: TunnelOut | null,
  signal: AbortSignal,
): Promise<StepCalls> {
  const features = await featuresOf(await destination.rpc(signal), signal);
  const protocol = negotiateAsSource(features, words);
  if (protocol === "version 2") await checkAskedById(await destination.rpc(signal), signal);
  const calls = stepCalls(protocol, { xmlMigratable: true });
  if (tunnel === null) return calls;
  if (protocol === "version 2")
    throw libvirtError("ARGUMENT_UNSUPPORTED", "a tunnel needs version 3 at both hosts");
  return { ...calls, prepare: tunnel.preparing(protocol === "version 3 with parameters") };
}
