// The two sides of a migration as a coordinator reaches them by libvirt's procedures, version 3 with extensible
// parameters: a switchoverd or a libvirtd. Cookies and XML travel through here and are not looked into.

import type { Clock, DestinationPeer, SettlingPeer, SourcePeer } from "../../effects/ports.js";
import { type Answer, cause, done, failed, messageOf, nothing, unknown } from "../../protocol/answer.js";
import { failure } from "../../protocol/failures.js";
import type {
  Abort,
  Decision,
  DestinationReport,
  GuestDescription,
  Identity,
  Prepared,
  SourceReport,
} from "../../protocol/messages.js";
import { domainStates } from "../libvirt-rpc/constants.js";
import { RpcUnsentError } from "../libvirt-rpc/errors.js";
import { errorCodes, LibvirtError } from "../libvirt-rpc/libvirt-error.js";
import type { Domain } from "../libvirt-rpc/libvirt-types.js";
import { remote } from "../libvirt-rpc/procedures.js";
import { decisionAt } from "./decision.js";
import { bitsOf, type MigrateFlag, type MigrateParameters, toParameters } from "./flags.js";
import type { Redial } from "./redial.js";

const { procedures } = remote;

export interface StepOptions {
  readonly flags: ReadonlySet<MigrateFlag>;
  readonly parameters: MigrateParameters;
  readonly clock: Clock;
}

/** What the steps hand on from one to the next; each side answers anew when it is asked again. */
export interface Travelling {
  /** By the step that has given it; one that has failed has given none. */
  readonly cookies: Partial<Record<"begin" | "prepare" | "perform" | "finish", Uint8Array>>;
  xml: string;
  flags: ReadonlySet<MigrateFlag>;
}

/** The flags that are for the source alone (facts/libvirt-migration-detail.md). */
const forSourceAlone: readonly MigrateFlag[] = ["ABORT_ON_ERROR", "AUTO_CONVERGE", "CHANGE_PROTECTION"];

export function remoteSource(
  connection: Redial,
  dom: Domain,
  options: StepOptions,
  travelling: Travelling,
): SourcePeer {
  const { parameters } = options;
  const params = toParameters(parameters);
  const bits = () => bitsOf(travelling.flags);
  const stateOf = async (signal: AbortSignal) =>
    (await connection.call(procedures.domainGetState, { dom, flags: 0 }, { signal })).state;
  return {
    begin: (signal) =>
      asked(async () => {
        const flags = bitsOf([...options.flags, "CHANGE_PROTECTION"]);
        const { cookieOut, xml } = await connection.call(
          procedures.domainMigrateBegin3Params,
          { dom, params, flags },
          { signal },
        );
        const paused = (await stateOf(signal)) === domainStates.paused;
        travelling.flags = new Set([
          ...options.flags,
          "CHANGE_PROTECTION",
          ...(paused ? (["PAUSED"] as const) : []),
        ]);
        travelling.cookies.begin = cookieOut;
        travelling.xml = xml;
        return done(described(dom, paused));
      }),
    perform: (prepared, signal) =>
      asked(async () => {
        const { cookieOut } = await connection.call(
          procedures.domainMigratePerform3Params,
          {
            dom,
            dconnuri: null,
            params: toParameters({ ...parameters, uri: prepared.uri }),
            cookieIn: travelling.cookies.prepare ?? noCookie,
            flags: bits(),
          },
          { signal, deadlineMs: Number.POSITIVE_INFINITY },
        );
        travelling.cookies.perform = cookieOut;
        return nothing;
      }),
    abort: (signal) =>
      asked<Abort>(async () => {
        try {
          await connection.call(procedures.domainAbortJob, { dom }, { signal });
          return done({ accepted: true, why: "the source ends the migration" });
        } catch (error) {
          if (!(error instanceof LibvirtError)) throw error;
          return done({ accepted: false, why: error.message });
        }
      }),
    confirm: ({ cancelled }, signal) =>
      asked<SourceReport>(async () => {
        const words = {
          dom,
          params,
          cookieIn: travelling.cookies.finish ?? noCookie,
          flags: bits(),
          cancelled: cancelled ? 1 : 0,
        };
        try {
          await connection.call(procedures.domainMigrateConfirm3Params, words, {
            signal,
          });
        } catch (error) {
          // Its job has ended already: how, its state tells.
          if (!(error instanceof LibvirtError) || error.code !== errorCodes.OPERATION_INVALID) throw error;
        }
        const state = await stateOf(signal).catch((error: unknown) => {
          if (error instanceof LibvirtError && error.code === errorCodes.NO_DOMAIN)
            return domainStates.shutoff;
          throw error;
        });
        return done({
          outcome: state === domainStates.shutoff ? "left" : "stayed",
          failures: [],
          undone: [],
        });
      }),
  };
}

/** `travelling` is what the source's steps have left there. */
export function remoteDestination(
  connection: Redial,
  { name, uuid }: Pick<Identity, "name" | "uuid">,
  options: StepOptions,
  travelling: Travelling,
): DestinationPeer & Pick<SettlingPeer, "settle"> {
  const bits = () => bitsOf([...travelling.flags].filter((it) => !forSourceAlone.includes(it)));
  const params = (more: MigrateParameters) => toParameters({ ...options.parameters, ...more });
  return {
    prepare: (_guest, signal) =>
      asked(async () => {
        const { cookieOut, uriOut } = await connection.call(
          procedures.domainMigratePrepare3Params,
          {
            params: params({ xml: travelling.xml }),
            cookieIn: travelling.cookies.begin ?? noCookie,
            flags: bits(),
          },
          { signal },
        );
        travelling.cookies.prepare = cookieOut;
        const uri = uriOut ?? options.parameters.uri;
        if (uri === undefined) return failed("the destination has not said where the stream goes");
        return done<Prepared>({ uri, capabilities: [] });
      }),
    finish: ({ cancelled }, signal) =>
      asked<DestinationReport>(async () => {
        const words = {
          params: params({ name }),
          cookieIn: travelling.cookies.perform ?? noCookie,
          flags: bits(),
          cancelled: cancelled ? 1 : 0,
        };
        const rpc = await connection.rpc(signal);
        try {
          const { cookieOut } = await rpc.call(procedures.domainMigrateFinish3Params, words, { signal });
          travelling.cookies.finish = cookieOut;
          return done({ outcome: "arrived", failures: [], undone: [] });
        } catch (error) {
          if (!(error instanceof LibvirtError)) throw error;
          // It may have had an earlier Finish whose answer was lost: then the guest is there.
          const decision = await decisionAt(rpc, uuid, signal);
          if (decision === "taken") return done({ outcome: "arrived", failures: [], undone: [] });
          if (decision === null) return unknown(error.message);
          const isAnswer = cancelled && finishedWell.has(error.code);
          const said = failure("rejected", "finish", "destination", cause(error.message));
          return done({ outcome: "refused", failures: isAnswer ? [] : [said], undone: [] });
        }
      }),
    settle: (_identity, signal) =>
      asked<Decision>(async () => {
        const decision = await decisionAt(await connection.rpc(signal), uuid, signal);
        return decision === null ? unknown("the destination has not decided yet") : done(decision);
      }),
  };
}

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
    return error instanceof RpcUnsentError ? failed(error.message) : unknown(messageOf(error));
  }
}
