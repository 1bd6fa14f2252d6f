// The migration steps as RPC calls, in each protocol that libvirt has had for QEMU: version 3 with extensible parameters,
// version 3 with fixed arguments, and version 2, which has no Begin and no Confirm. No decisions are made here.

import type { CallOptions, RpcConnection } from "../rpc/client.js";
import { domainStates } from "../rpc/constants.js";
import type { Domain } from "../rpc/libvirt-types.js";
import { remote } from "../rpc/procedures.js";
import type { Procedure } from "../rpc/program.js";
import type { RpcStream } from "../rpc/stream.js";
import { type MigrateParameters, toParameters } from "./flags.js";
import type { Protocol } from "./negotiation.js";

const { procedures } = remote;

/** A connection, or a client that connects on demand. */
export interface Caller {
  call<A, R>(procedure: Procedure<A, R, false>, args: A, options?: CallOptions): Promise<R>;
}

interface Step {
  readonly parameters: MigrateParameters;
  readonly cookieIn: Uint8Array;
  readonly flags: number;
  readonly options: CallOptions;
}
type AtSource = Step & { readonly dom: Domain };
type Ending = { readonly cancelled: boolean };

export interface StepCalls {
  readonly protocol: 2 | 3;
  isPaused(at: Caller, dom: Domain, options: CallOptions): Promise<boolean>;
  begin(at: Caller, step: Omit<AtSource, "cookieIn">): Promise<{ cookieOut: Uint8Array; xml: string }>;
  /** `parameters.xml` is the XML that Begin returned. */
  prepare(at: Caller, step: Step): Promise<{ cookieOut: Uint8Array; uriOut: string | null }>;
  /** Resolves when the memory has been transferred; `cookieOut` is for Finish. */
  perform(at: Caller, step: AtSource): Promise<{ cookieOut: Uint8Array }>;
  finish(at: Caller, step: Step & Ending): Promise<{ cookieOut: Uint8Array }>;
  /** Null when the source ends the migration by itself, with Perform. */
  readonly confirm: ((at: Caller, step: AtSource & Ending) => Promise<void>) | null;
}

const withParameters: StepCalls = {
  protocol: 3,
  isPaused: async (at, dom, options) =>
    (await at.call(procedures.domainGetState, { dom, flags: 0 }, options)).state === domainStates.paused,
  begin: (at, { dom, parameters, flags, options }) =>
    at.call(procedures.domainMigrateBegin3Params, { dom, params: toParameters(parameters), flags }, options),
  prepare: (at, { parameters, cookieIn, flags, options }) =>
    at.call(
      procedures.domainMigratePrepare3Params,
      { params: toParameters(parameters), cookieIn, flags },
      options,
    ),
  perform: (at, { dom, parameters, cookieIn, flags, options }) =>
    at.call(
      procedures.domainMigratePerform3Params,
      { dom, dconnuri: null, params: toParameters(parameters), cookieIn, flags },
      options,
    ),
  finish: (at, { parameters, cookieIn, flags, cancelled, options }) =>
    at.call(
      procedures.domainMigrateFinish3Params,
      { params: toParameters(parameters), cookieIn, flags, cancelled: Number(cancelled) },
      options,
    ),
  confirm: (at, { dom, parameters, cookieIn, flags, cancelled, options }) =>
    at.call(
      procedures.domainMigrateConfirm3Params,
      { dom, params: toParameters(parameters), cookieIn, flags, cancelled: Number(cancelled) },
      options,
    ),
};

const fixed: StepCalls = {
  protocol: 3,
  isPaused: async (at, dom, options) =>
    (await at.call(procedures.domainGetInfo, { dom }, options)).state === domainStates.paused,
  begin: (at, { dom, parameters, flags, options }) =>
    at.call(
      procedures.domainMigrateBegin3,
      { dom, xmlin: parameters.xml ?? null, ...how(parameters, flags) },
      options,
    ),
  prepare: (at, { parameters, cookieIn, flags, options }) =>
    at.call(
      procedures.domainMigratePrepare3,
      { cookieIn, uriIn: parameters.uri ?? null, ...how(parameters, flags), domXml: parameters.xml ?? "" },
      options,
    ),
  perform: (at, { dom, parameters, cookieIn, flags, options }) =>
    at.call(
      procedures.domainMigratePerform3,
      {
        dom,
        xmlin: parameters.xml ?? null,
        cookieIn,
        dconnuri: null,
        uri: parameters.uri ?? null,
        ...how(parameters, flags),
      },
      options,
    ),
  finish: (at, { parameters, cookieIn, flags, cancelled, options }) =>
    at.call(
      procedures.domainMigrateFinish3,
      {
        dname: parameters.name ?? "",
        cookieIn,
        dconnuri: null,
        uri: parameters.uri ?? null,
        flags: BigInt(flags),
        cancelled: Number(cancelled),
      },
      options,
    ),
  confirm: (at, { dom, cookieIn, flags, cancelled, options }) =>
    at.call(
      procedures.domainMigrateConfirm3,
      { dom, cookieIn, flags: BigInt(flags), cancelled: Number(cancelled) },
      options,
    ),
};

/** Flags of DOMAIN_GET_XML_DESC: the migratable form, and the closest form that an older host supports. */
const xmlFlags = { migratable: 8, secureWithCpu: 5 };

const version2 = (xmlMigratable: boolean): StepCalls => ({
  protocol: 2,
  isPaused: fixed.isPaused,
  begin: async (at, { dom, options }) => {
    const flags = xmlMigratable ? xmlFlags.migratable : xmlFlags.secureWithCpu;
    const { xml } = await at.call(procedures.domainGetXmlDesc, { dom, flags }, options);
    return { xml, cookieOut: new Uint8Array() };
  },
  prepare: async (at, { parameters, flags, options }) => {
    const { cookie, uriOut } = await at.call(
      procedures.domainMigratePrepare2,
      { uriIn: parameters.uri ?? null, ...how(parameters, flags), domXml: parameters.xml ?? "" },
      options,
    );
    return { cookieOut: cookie, uriOut };
  },
  perform: async (at, { dom, parameters, cookieIn, flags, options }) => {
    await at.call(
      procedures.domainMigratePerform,
      { dom, cookie: cookieIn, uri: parameters.uri ?? "", ...how(parameters, flags) },
      options,
    );
    return { cookieOut: cookieIn };
  },
  finish: async (at, { parameters, cookieIn, flags, cancelled, options }) => {
    const { name = "", uri = "" } = parameters;
    await at.call(
      procedures.domainMigrateFinish2,
      { dname: name, cookie: cookieIn, uri, flags: BigInt(flags), retcode: Number(cancelled) },
      options,
    );
    return { cookieOut: new Uint8Array() };
  },
  confirm: null,
});

/** The arguments that all fixed forms share. */
const how = ({ name, bandwidthMiBps = 0 }: MigrateParameters, flags: number) => ({
  flags: BigInt(flags),
  dname: name ?? null,
  resource: BigInt(bandwidthMiBps),
});

export const stepCalls = (
  protocol: Exclude<Protocol, "version 1">,
  { xmlMigratable }: { readonly xmlMigratable: boolean },
): StepCalls =>
  ({
    "version 3 with parameters": withParameters,
    "version 3": fixed,
    "version 2": version2(xmlMigratable),
  })[protocol];

/** Prepare of a tunnelled migration, in version 3 only: the stream is passed to the destination's QEMU. */
export const prepareTunnel = (
  at: RpcConnection,
  { parameters, cookieIn, flags, options }: Step,
  hasParameters: boolean,
): Promise<{ readonly ret: { readonly cookieOut: Uint8Array }; readonly stream: RpcStream }> => {
  if (hasParameters) {
    const words = { params: toParameters(parameters), cookieIn, flags };
    return at.open(procedures.domainMigratePrepareTunnel3Params, words, options);
  }
  const words = { cookieIn, ...how(parameters, flags), domXml: parameters.xml ?? "" };
  return at.open(procedures.domainMigratePrepareTunnel3, words, options);
};

/** Runs the whole migration; the source coordinates it. */
export async function performPeerToPeer(
  protocol: Exclude<Protocol, "version 1">,
  at: Caller,
  asked: Omit<AtSource, "cookieIn"> & { readonly destinationUri: string },
): Promise<void> {
  const { dom, parameters, flags, options, destinationUri } = asked;
  const cookie = new Uint8Array();
  switch (protocol) {
    case "version 3 with parameters": {
      const params = toParameters(parameters);
      const words = { dom, dconnuri: destinationUri, params, cookieIn: cookie, flags };
      await at.call(procedures.domainMigratePerform3Params, words, options);
      return;
    }
    case "version 3": {
      const { xml = null, uri = null } = parameters;
      const words = { dom, xmlin: xml, cookieIn: cookie, dconnuri: destinationUri, uri };
      await at.call(procedures.domainMigratePerform3, { ...words, ...how(parameters, flags) }, options);
      return;
    }
    case "version 2": {
      const words = { dom, cookie, uri: destinationUri, ...how(parameters, flags) };
      await at.call(procedures.domainMigratePerform, words, options);
    }
  }
}
