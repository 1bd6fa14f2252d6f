// The two sides of a migration as a coordinator reaches them by libvirt's procedures: a switchoverd or a libvirtd. Cookies
// and XML travel through here and are not looked into.

import type { DestinationPeer, SettlingPeer, SourcePeer } from "../../../effects/ports.js";
import {
  type Answer,
  cause,
  done,
  failed,
  messageOf,
  nothing,
  unknown,
} from "../../../protocol/effect-result.js";
import { asDecision, mayFinish } from "../../../protocol/evidence.js";
import { failure } from "../../../protocol/failure.js";
import type {
  Abort,
  Decision,
  DestinationReport,
  GuestDescription,
  Identity,
  Prepared,
  SourceReport,
} from "../../../protocol/messages.js";
import { PeerTextError, type Reach, streamAddress } from "../../../protocol/peer-text.js";
import type { RpcConnection } from "../rpc/client.js";
import { RpcUnsentError } from "../rpc/errors.js";
import { errorCodes, LibvirtError } from "../rpc/libvirt-error.js";
import type { Domain } from "../rpc/libvirt-types.js";
import { remote } from "../rpc/procedures.js";
import { arrivalAt, incomingIdAt, type Mode, type Steps } from "./arrival.js";
import { bitsForDestination, bitsOf, type MigrateFlag, type MigrateParameters } from "./flags.js";
import { locateDomain } from "./locate-domain.js";
import { migrationNamedIn } from "./named-migration.js";
import type { StepCalls } from "./protocol-calls.js";
import type { Redial } from "./reconnecting-client.js";

const { procedures } = remote;

export interface StepOptions {
  readonly flags: ReadonlySet<MigrateFlag>;
  readonly parameters: MigrateParameters;
  /** @throws LibvirtError when the hosts have no protocol in common. */
  calls(signal: AbortSignal): Promise<StepCalls>;
}

/** What the steps hand on from one to the next; each side answers anew when it is asked again. */
export interface Travelling {
  /** By the step that has given it; one that has failed has given none. */
  readonly cookies: Partial<Record<"begin" | "prepare" | "perform" | "finish", Uint8Array>>;
  xml: string;
  flags: ReadonlySet<MigrateFlag>;
  /** Where the stream goes, as the destination has said. */
  uri?: string | undefined;
  /** The guest's name at the source, which cookies carry. */
  readonly nameAtSource: string;
  readonly steps: Steps;
}

/** `protects`: whether it keeps the guest from other changes from Begin to Confirm. */
export function remoteSource(
  connection: Redial,
  dom: Domain,
  options: StepOptions & { readonly protects: boolean },
  travelling: Travelling,
): SourcePeer {
  const { parameters } = options;
  // Confirm goes by uuid: after a Begin that was refused it could end another migration of the guest.
  let begun: "unsent" | "unanswered" | "refused" | "done" = "unsent";
  const words = (signal: AbortSignal) => ({
    dom,
    parameters,
    options: { signal },
    flags: bitsOf([...travelling.flags, ...(options.protects ? (["CHANGE_PROTECTION"] as const) : [])]),
  });
  return {
    begin: (signal) =>
      asked(async () => {
        const calls = await options.calls(signal);
        const before = begun;
        begun = "unanswered";
        const { cookieOut, xml } = await calls.begin(connection, words(signal)).catch((error: unknown) => {
          if (before === "unsent" && isAnswer(error)) begun = "refused";
          throw error;
        });
        begun = "done";
        const paused = await calls.isPaused(connection, dom, { signal });
        if (paused) travelling.flags = new Set([...travelling.flags, "PAUSED"]);
        travelling.cookies.begin = cookieOut;
        travelling.xml = xml;
        return done(described(dom, paused));
      }),
    perform: ({ uri }, signal) =>
      asked(async () => {
        const calls = await options.calls(signal);
        // Only a definition moves, with the last step.
        if (options.flags.has("OFFLINE") && calls.confirm !== null) return nothing;
        const { cookieOut } = await calls.perform(connection, {
          ...words(signal),
          // In the destination's own form, which was parsed when it came.
          parameters: { ...parameters, uri: travelling.uri ?? uri },
          cookieIn: travelling.cookies.prepare ?? noCookie,
          options: { signal, deadlineMs: Number.POSITIVE_INFINITY },
        });
        travelling.cookies.perform = cookieOut;
        return nothing;
      }),
    abort: (signal) => abortAt(connection, dom, signal),
    confirm: ({ cancelled }, signal) =>
      asked<SourceReport>(async () => {
        if (cancelled && begun === "refused") return done({ outcome: "stayed", failures: [], undone: [] });
        const { confirm } = await options.calls(signal);
        try {
          const cookieIn = travelling.cookies.finish ?? noCookie;
          await confirm?.(connection, { ...words(signal), cookieIn, cancelled });
        } catch (error) {
          // Its job has ended already: how, its state tells.
          const isOver = error instanceof LibvirtError && endedBefore.has(error.code);
          if (!isOver) throw error;
        }
        const outcome = await locateDomain(await connection.rpc(signal), dom.uuid, signal);
        if (outcome === null) return unknown("the source has not ended its migration yet");
        // A guest that is gone may have ended there: only the destination's answer tells that it has moved.
        if (outcome === "left" && cancelled && travelling.steps.concluded === null)
          return unknown(
            "the guest is not at the source, and the destination has not told whether it arrived",
          );
        return done({ outcome, failures: [], undone: [] });
      }),
  };
}

export const abortAt = (connection: Redial, dom: Domain, signal: AbortSignal): Promise<Answer<Abort>> =>
  asked<Abort>(async () => {
    try {
      await connection.call(procedures.domainAbortJob, { dom }, { signal });
      return done({ accepted: true, why: "the source ends the migration" });
    } catch (error) {
      if (!(error instanceof LibvirtError)) throw error;
      return done({ accepted: false, why: error.message });
    }
  });

export interface RemoteDestination extends DestinationPeer, Pick<SettlingPeer, "settle"> {
  /** The same question as `settle`, over a connection of its own. */
  settleOver(rpc: RpcConnection, signal: AbortSignal): Promise<Answer<Decision>>;
}

/**
 * `travelling` is what the source's steps have left there. `isBack` tells a source's own coordinator whether the source has
 * given the migration up.
 */
export function remoteDestination(
  connection: Redial,
  identity: Identity,
  options: StepOptions & { readonly reach: Reach; isBack?(): boolean },
  travelling: Travelling,
): RemoteDestination {
  const { name, uuid } = identity;
  const { steps } = travelling;
  const words = (signal: AbortSignal) => ({
    flags: bitsForDestination(travelling.flags),
    options: { signal },
  });
  const postcopy = options.flags.has("POSTCOPY");
  const modeOf = ({ protocol }: StepCalls): Mode => ({ protocol, postcopy });
  const arrival = async (rpc: RpcConnection, signal: AbortSignal) =>
    arrivalAt(rpc, steps, identity, modeOf(await options.calls(signal)), signal);
  return {
    prepare: (_guest, signal) =>
      asked(async () => {
        const calls = await options.calls(signal);
        const rpc = await connection.rpc(signal);
        const before = steps.prepare;
        steps.prepare = "unanswered";
        const asking = calls.prepare(rpc, {
          ...words(signal),
          parameters: { ...options.parameters, xml: travelling.xml },
          cookieIn: travelling.cookies.begin ?? noCookie,
        });
        const { cookieOut, uriOut } = await asking.catch((error: unknown) => {
          // An earlier one, whose answer was lost, may have been carried out.
          if (before === "unsent" && isAnswer(error)) steps.prepare = "refused";
          throw error;
        });
        steps.prepare = "done";
        travelling.cookies.prepare = cookieOut;
        travelling.uri = uriOut ?? options.parameters.uri;
        steps.idThere = migrationNamedIn(cookieOut, { name: travelling.nameAtSource, uuid }) ?? null;
        if (steps.idThere === null) steps.incomingId = await incomingIdAt(rpc, uuid, signal);
        if (travelling.uri === undefined) return failed("the destination has not said where the stream goes");
        const { incomingId } = steps;
        return done<Prepared>({
          uri: streamAddress(travelling.uri, options.reach),
          capabilities: [],
          ...(incomingId !== null && { incomingId }),
        });
      }),
    finish: ({ cancelled }, signal) =>
      asked<DestinationReport>(async () => {
        // Finish goes by name: it could end another migration's guest.
        if (cancelled && (steps.prepare === "unsent" || steps.prepare === "refused")) {
          steps.concluded = "refused";
          return done({ outcome: "refused", failures: [], undone: [] });
        }
        const calls = await options.calls(signal);
        const rpc = await connection.rpc(signal);
        const { uri } = travelling;
        // Only now, when it can be sent at once: the source may have concluded by itself while this host was not reached.
        const isBack = options.isBack?.() ?? false;
        if (!cancelled && !mayFinish({ concluded: steps.concluded, isBack }))
          return failed("the source has its guest again, and the destination is not asked to run it");
        const before = steps.finish;
        if (!cancelled && before === "unsent") steps.finish = "unanswered";
        try {
          const { cookieOut } = await calls.finish(rpc, {
            ...words(signal),
            parameters: { ...options.parameters, name, ...(uri !== undefined && { uri }) },
            cookieIn: travelling.cookies.perform ?? noCookie,
            cancelled,
          });
          travelling.cookies.finish = cookieOut;
          steps.finish = "arrived";
          return done({ outcome: "arrived", failures: [], undone: [] });
        } catch (error) {
          if (error instanceof RpcUnsentError) steps.finish = before;
          if (!isAnswer(error)) throw error;
          if (cancelled && error.code === errorCodes.MIGRATE_FINISH_OK) steps.finish = "destroyed";
          else if (!cancelled && before === "unsent") steps.finish = "failed";
          const conclusion = options.flags.has("OFFLINE")
            ? "refused"
            : await arrivalAt(rpc, steps, identity, modeOf(calls), signal);
          // An earlier Finish, whose answer was lost, has made it run.
          if (conclusion === "taken") return done({ outcome: "arrived", failures: [], undone: [] });
          // The source settles, or reports that it does not know either.
          if (conclusion === "unknown") return failed(error.message);
          const isExpected = cancelled && finishedWell.has(error.code);
          const said = failure("rejected", "finish", "destination", cause(error.message));
          return done({ outcome: conclusion, failures: isExpected ? [] : [said], undone: [] });
        }
      }),
    settle: (_identity, signal) =>
      asked<Decision>(async () => asDecision(await arrival(await connection.rpc(signal), signal))),
    settleOver: (rpc, signal) => asked<Decision>(async () => asDecision(await arrival(rpc, signal))),
  };
}

/** Whether the host itself has answered with an error, which it does not do while it may still carry the call out. */
const isAnswer = (error: unknown): error is LibvirtError =>
  error instanceof LibvirtError && error.code !== errorCodes.OPERATION_TIMEOUT;

/** After Confirm: the job, or the guest, is not there any more. */
const endedBefore: ReadonlySet<number> = new Set([errorCodes.OPERATION_INVALID, errorCodes.NO_DOMAIN]);

/** After Finish with cancelled: it is done, or there was nothing left to do. */
const finishedWell: ReadonlySet<number> = new Set([
  errorCodes.MIGRATE_FINISH_OK,
  errorCodes.OPERATION_INVALID,
]);

const noCookie = new Uint8Array();

const described = ({ uuid }: Domain, paused: boolean): GuestDescription => ({
  uuid,
  guestWas: paused ? "paused" : "running",
  qemuVersion: "",
  memoryBytes: 0,
  capabilities: [],
  disks: [],
  fencingToken: null,
});

/** The peer's no is `failed`, and so is what was never sent; silence is `unknown`. */
async function asked<T>(ask: () => Promise<Answer<T>>): Promise<Answer<T>> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof LibvirtError) {
      const { code, message } = error;
      if (code === errorCodes.OPERATION_TIMEOUT) return unknown(message);
      if (code !== errorCodes.OPERATION_ABORTED) return failed(message);
      const failures = [failure("aborted", "perform", "source", { message })];
      return { kind: "failed", cause: { message, failures } };
    }
    if (error instanceof PeerTextError) return failed(error.message);
    return error instanceof RpcUnsentError ? failed(error.message) : unknown(messageOf(error));
  }
}
