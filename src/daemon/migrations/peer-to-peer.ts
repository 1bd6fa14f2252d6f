// The coordinator of a peer-to-peer migration. It runs in the source's daemon and calls the destination by libvirt's
// procedures. It does not depend on the client, and is resumed together with the source after a restart.

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
  "post-copy requires a destination that the source can ask directly, which libvirtd does not support";

const endedWithUs =
  "this host's daemon was restarted, and libvirtd ends an incoming guest when the connection that prepared it closes";

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

/** Reads and writes cookies for the source's daemon. */
export interface Cookies {
  ofBegin(outgoing: Outgoing, guest: GuestDescription): Promise<Uint8Array>;
  preparedAt(outgoing: Outgoing, request: StepRequest, uri: StreamAddress): Prepared;
  ofPerform(outgoing: Outgoing, request: PeerToPeerRequest): Uint8Array;
  saidIn(outgoing: Outgoing, cookie: Uint8Array): Said | null;
}

/** Resolves when the migration has ended. Never rejects. */
export function coordinate(
  host: Host,
  outgoing: Outgoing,
  cookies: Cookies,
  request: PeerToPeerRequest,
  woken?: CoordinatorInput["woken"],
): Promise<CoordinatorOutput> {
  const { surroundings, deadlines, clock } = host;
  const { destinationUri, parameters, flags } = request;
  const { identity, domain } = outgoing;
  const connect = () => new Redial(withOwnCertificates(host.config, destinationUri), clock);
  const connection = connect();
  const travelling: Travelling = {
    // The destination recognizes a restarted coordinator by the id in this cookie.
    cookies: woken === undefined ? {} : { perform: cookies.ofPerform(outgoing, request) },
    xml: parameters.xml ?? domain.xml,
    flags,
    nameAtSource: domain.name,
    steps: woken === undefined ? noSteps() : stepsBefore(woken, identity.migrationId),
  };
  const isTunnelled = flags.has("TUNNELLED");
  const directory = host.domains.directoryOf(`${tunnelPrefix}${identity.migrationId}`);
  const tunnel = isTunnelled ? new TunnelOut(connect(), directory) : null;
  const calls = (signal: AbortSignal) => callsTo(connection, request, tunnel, signal);
  // A tunnel ends in a local socket of this daemon, which any reach permits.
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
      if (answer.kind === "done") travelling.cookies.perform = cookies.ofPerform(outgoing, request);
      return answer;
    },
  };
  const record = { destinationUri, flags: bitsOf(flags), parameters } satisfies z.infer<typeof kept>;
  const actor = openCoordinator(surroundings, { identity, deadlines, woken }, source, destination, record);
  actor.start();
  return waitFor(actor, (snapshot) => snapshot.status !== "active").then(({ output }) => {
    void connection.close();
    void tunnel?.close();
    if (output === undefined) throw new Error("bug: the coordinator ended without an outcome");
    return output;
  });
}

/** Resumes the coordinator of a resumed source; null when a client was the coordinator. */
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
  const request = { destinationUri, flags: flagsOf(flags).flags, parameters };
  return coordinate(host, outgoing, cookies, request, woken);
}

/** Returns libvirt's refusal to migrate to the same host, before the first step at the destination; null for another host. */
async function sameHostAs(
  { config }: Host,
  destination: Redial,
  signal: AbortSignal,
): Promise<Answer<never> | null> {
  try {
    const uuid = await hostUuidAt(destination, signal);
    return uuid === config.hostUuid.toLowerCase() ? failed(sameHost(config.hostUuid).message) : null;
  } catch {
    // Prepare reports why the destination cannot be reached.
    return null;
  }
}

/**
 * Reconstructs the steps that the destination received before this daemon was restarted. Finish may have been sent as soon
 * as Prepare was done, because its record is not awaited while the guest is paused.
 */
function stepsBefore({ state, memory }: NonNullable<CoordinatorInput["woken"]>, migrationId: string): Steps {
  const { prepared, destination } = memory;
  const concluded = { arrived: "taken", refused: "refused", lost: "lost", stuck: null } as const;
  const wasCancelled = prepared === null || state.startsWith("finishingCancelled");
  return {
    prepare: prepared === null ? "unanswered" : "done",
    finish: wasCancelled ? "unsent" : "unanswered",
    incomingId: prepared?.incomingId ?? null,
    // A libvirtd cannot be asked by migration id; without the id of its domain there is nothing to ask for.
    idThere: prepared?.incomingId === undefined ? migrationId : null,
    concluded: destination === null ? null : concluded[destination.outcome],
  };
}

async function callsTo(
  destination: Redial,
  request: PeerToPeerRequest,
  tunnel: TunnelOut | null,
  signal: AbortSignal,
): Promise<StepCalls> {
  const features = await featuresOf(await destination.rpc(signal), signal);
  const protocol = negotiateAsSource(features, request);
  if (protocol === "version 2") await checkAskedById(await destination.rpc(signal), signal);
  const calls = stepCalls(protocol, { xmlMigratable: true });
  if (tunnel === null) return calls;
  if (protocol === "version 2")
    throw libvirtError("ARGUMENT_UNSUPPORTED", "a tunnel requires protocol version 3 on both hosts");
  return { ...calls, prepare: tunnel.preparing(protocol === "version 3 with parameters") };
}
