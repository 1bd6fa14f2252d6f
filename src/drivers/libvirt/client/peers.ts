// The two sides of a migration as peers of a coordinator, which calls them through libvirt's procedures: a switchoverd or a
// libvirtd. Cookies and XML are passed on unread.

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

/** State passed from step to step; a repeated step replaces what it returned before. */
export interface Travelling {
  /** Cookies by the step that returned them; a failed step returned none. */
  readonly cookies: Partial<Record<"begin" | "prepare" | "perform" | "finish", Uint8Array>>;
  xml: string;
  flags: ReadonlySet<MigrateFlag>;
  /** Address of the memory stream, from Prepare's answer. */
  uri?: string | undefined;
  /** The guest's name at the source, which cookies contain. */
  readonly nameAtSource: string;
  readonly steps: Steps;
}

/** `protects`: whether the source rejects changes to the guest from Begin to Confirm. */
export function remoteSource(
  connection: Redial,
  dom: Domain,
  options: StepOptions & { readonly protects: boolean },
  travelling: Travelling,
): SourcePeer {
  const { parameters } = options;
  // Confirm identifies the guest by uuid: after a refused Begin it could end another migration of the guest.
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
        // An offline migration transfers the definition only, in the last step.
        if (options.flags.has("OFFLINE") && calls.confirm !== null) return nothing;
        const { cookieOut } = await calls.perform(connection, {
          ...words(signal),
          // In the destination's own form, which was validated when it was received.
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
          // The job has already ended; the guest's state shows the outcome.
          const isOver = error instanceof LibvirtError && endedBefore.has(error.code);
          if (!isOver) throw error;
        }
        const outcome = await locateDomain(await connection.rpc(signal), dom.uuid, signal);
        if (outcome === null) return unknown("the source has not ended the migration yet");
        // A guest that is gone may have been shut down: only the destination's answer proves that it has moved.
        if (outcome === "left" && cancelled && travelling.steps.concluded === null)
          return unknown(
            "the guest is not at the source, and the destination has not reported whether it arrived",
          );
        return done({ outcome, failures: [], undone: [] });
      }),
  };
}

export const abortAt = (connection: Redial, dom: Domain, signal: AbortSignal): Promise<Answer<Abort>> =>
  asked<Abort>(async () => {
    try {
      await connection.call(procedures.domainAbortJob, { dom }, { signal });
      return done({ accepted: true, why: "the source cancels the migration" });
    } catch (error) {
      if (!(error instanceof LibvirtError)) throw error;
      return done({ accepted: false, why: error.message });
    }
  });

export interface RemoteDestination extends DestinationPeer, Pick<SettlingPeer, "settle"> {
  /** The same query as `settle`, over the given connection. */
  settleOver(rpc: RpcConnection, signal: AbortSignal): Promise<Answer<Decision>>;
}

/**
 * `travelling` holds what the source's steps returned. `isBack` reports to a source's own coordinator whether the source has
 * taken its guest back.
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
          // An earlier Prepare, whose answer was lost, may have been carried out.
          if (before === "unsent" && isAnswer(error)) steps.prepare = "refused";
          throw error;
        });
        steps.prepare = "done";
        travelling.cookies.prepare = cookieOut;
        travelling.uri = uriOut ?? options.parameters.uri;
        steps.idThere = migrationNamedIn(cookieOut, { name: travelling.nameAtSource, uuid }) ?? null;
        if (steps.idThere === null) steps.incomingId = await incomingIdAt(rpc, uuid, signal);
        if (travelling.uri === undefined)
          return failed("the destination returned no address for the memory stream");
        const { incomingId } = steps;
        return done<Prepared>({
          uri: streamAddress(travelling.uri, options.reach),
          capabilities: [],
          ...(incomingId !== null && { incomingId }),
        });
      }),
    finish: ({ cancelled }, signal) =>
      asked<DestinationReport>(async () => {
        // Finish identifies the guest by name: it could end the guest of another migration.
        if (cancelled && (steps.prepare === "unsent" || steps.prepare === "refused")) {
          steps.concluded = "refused";
          return done({ outcome: "refused", failures: [], undone: [] });
        }
        const calls = await options.calls(signal);
        const rpc = await connection.rpc(signal);
        const { uri } = travelling;
        // Checked only now, just before Finish is sent: the source may have concluded while this host was unreachable.
        const isBack = options.isBack?.() ?? false;
        if (!cancelled && !mayFinish({ concluded: steps.concluded, isBack }))
          return failed("the source has its guest back; Finish is not sent to the destination");
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
          // An earlier Finish, whose answer was lost, started the guest.
          if (conclusion === "taken") return done({ outcome: "arrived", failures: [], undone: [] });
          // The source settles, or reports the outcome as undecided.
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

/** Whether the error is the host's answer to the call; a timeout is not, since the host may still carry the call out. */
const isAnswer = (error: unknown): error is LibvirtError =>
  error instanceof LibvirtError && error.code !== errorCodes.OPERATION_TIMEOUT;

/** Errors of Confirm which mean that the job or the guest no longer exists. */
const endedBefore: ReadonlySet<number> = new Set([errorCodes.OPERATION_INVALID, errorCodes.NO_DOMAIN]);

/** Errors of a cancelled Finish which mean that it is done, or that nothing was left to do. */
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

/** Maps a rejection by the peer, or a call that was never sent, to `failed`, and a missing answer to `unknown`. */
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
