// The steps in each form that libvirt's clients know: version 3 with extensible parameters, version 3 fixed, and version 2.
// Every form comes down to the same five functions.

import { version2NeedsIds } from "../../drivers/libvirt/client/negotiation.js";
import type { Domain as WireDomain } from "../../drivers/libvirt/rpc/libvirt-types.js";
import type { remote } from "../../drivers/libvirt/rpc/procedures.js";
import type { Handlers, RpcClient } from "../../drivers/libvirt/rpc/service.js";
import type { RpcStream } from "../../drivers/libvirt/rpc/stream.js";
import type { Host } from "../host.js";
import { readPrepareCookie } from "../migrations/cookies.js";
import { checkTogether } from "../migrations/flag-conflicts.js";
import { OfflineMigrations } from "../migrations/offline.js";
import type { Migrations } from "../migrations/registry.js";
import { requestOfFixed, type StepRequest, wordsOf } from "../migrations/request.js";
import { libvirtError } from "./errors.js";
import { toWireDomain } from "./wire-domain.js";

const empty = new Uint8Array();

export function stepHandlers(host: Host, migrations: Migrations): Handlers<typeof remote.procedures> {
  const { domains } = host;
  const offline = new OfflineMigrations(host);
  const of = ({ uuid }: WireDomain) => domains.byUuid(uuid);
  const isOffline = ({ flags }: StepRequest) => flags.has("OFFLINE");

  const begin = async (client: RpcClient, dom: WireDomain, words: StepRequest) => {
    checkTogether(words, { side: "source" });
    const entry = of(dom);
    const { xml, cookieOut } = isOffline(words)
      ? await offline.begin(entry, words, client)
      : await migrations.begin(entry, words, client);
    return { xml, cookieOut };
  };
  const prepare = (client: RpcClient, words: StepRequest, tunnel?: RpcStream) => {
    checkTogether(words, { side: "destination", isTunnelPrepared: tunnel !== undefined });
    return isOffline(words) ? offline.prepare(words, client) : migrations.prepare(words, client, tunnel);
  };
  const perform = async (
    client: RpcClient,
    dom: WireDomain,
    words: StepRequest,
    destinationUri: string | null,
  ) => {
    checkTogether(words, { side: "source" });
    if (!isOffline(words)) return migrations.perform(of(dom), words, destinationUri, client);
    if (destinationUri === null)
      throw libvirtError("OPERATION_INVALID", "an offline migration has nothing to perform");
    await offline.peerToPeer(of(dom), words, destinationUri);
    return { cookieOut: empty };
  };
  const finish = async (client: RpcClient, words: StepRequest, cancelled: boolean) => {
    const { name } = words.parameters;
    if (name === undefined) throw libvirtError("INVALID_ARG", "no destination name passed");
    const { entry, cookieOut } = isOffline(words)
      ? await offline.finish(name, cancelled, client)
      : await migrations.finish(name, cancelled, words, client);
    return { dom: toWireDomain(entry), cookieOut };
  };
  const confirm = async (client: RpcClient, dom: WireDomain, words: StepRequest, cancelled: boolean) => {
    await (isOffline(words)
      ? offline.confirm(of(dom), words, cancelled, client)
      : migrations.confirm(of(dom), cancelled, words, client));
  };

  return {
    domainMigrateBegin3Params: ({ dom, params, flags }, client) =>
      begin(client, dom, wordsOf(params, empty, flags)),
    domainMigratePrepare3Params: ({ params, cookieIn, flags }, client) =>
      prepare(client, wordsOf(params, cookieIn, flags)),
    domainMigratePrepareTunnel3Params: ({ params, cookieIn, flags }, client, stream) =>
      prepare(client, wordsOf(params, cookieIn, flags), stream),
    domainMigratePerform3Params: ({ dom, dconnuri, params, cookieIn, flags }, client) =>
      perform(client, dom, wordsOf(params, cookieIn, flags), dconnuri),
    domainMigrateFinish3Params: ({ params, cookieIn, flags, cancelled }, client) =>
      finish(client, wordsOf(params, cookieIn, flags), cancelled !== 0),
    domainMigrateConfirm3Params: ({ dom, params, cookieIn, flags, cancelled }, client) =>
      confirm(client, dom, wordsOf(params, cookieIn, flags), cancelled !== 0),

    domainMigrateBegin3: ({ dom, xmlin, flags, dname, resource }, client) =>
      begin(client, dom, requestOfFixed({ xml: xmlin, name: dname, resource, flags }, empty)),
    domainMigratePrepare3: ({ cookieIn, uriIn, flags, dname, resource, domXml }, client) =>
      prepare(client, requestOfFixed({ uri: uriIn, name: dname, xml: domXml, resource, flags }, cookieIn)),
    domainMigratePrepareTunnel3: ({ cookieIn, flags, dname, resource, domXml }, client, stream) =>
      prepare(client, requestOfFixed({ name: dname, xml: domXml, resource, flags }, cookieIn), stream),
    domainMigratePerform3: ({ dom, xmlin, cookieIn, dconnuri, uri, flags, dname, resource }, client) =>
      perform(
        client,
        dom,
        requestOfFixed({ uri, name: dname, xml: xmlin, resource, flags }, cookieIn),
        dconnuri,
      ),
    domainMigrateFinish3: ({ dname, cookieIn, uri, flags, cancelled }, client) =>
      finish(client, requestOfFixed({ uri, name: dname, flags }, cookieIn), cancelled !== 0),
    domainMigrateConfirm3: ({ dom, cookieIn, flags, cancelled }, client) =>
      confirm(client, dom, requestOfFixed({ flags }, cookieIn), cancelled !== 0),

    domainMigratePrepare2: async ({ uriIn, flags, dname, resource, domXml }, client) => {
      const words = requestOfFixed({ uri: uriIn, name: dname, xml: domXml, resource, flags }, empty);
      const { cookieOut, uriOut } = await prepare(client, words);
      return { cookie: cookieOut, uriOut };
    },
    domainMigratePerform: async ({ dom, cookie, uri, flags, dname, resource }, client) => {
      const words = requestOfFixed({ uri, name: dname, resource, flags }, cookie);
      const { uri: _, ...parameters } = words.parameters;
      // It would have to give up its definition before the destination has it.
      if (isOffline(words)) throw libvirtError("OPERATION_INVALID", "an offline migration needs version 3");
      if (words.flags.has("PEER2PEER")) await perform(client, dom, { ...words, parameters }, uri);
      else {
        const { switchover } = readPrepareCookie(host, words.cookie, of(dom)) ?? {};
        if (switchover?.settle === undefined) throw libvirtError("ARGUMENT_UNSUPPORTED", version2NeedsIds);
        await migrations.performAlone(of(dom), words);
      }
    },
    domainMigrateFinish2: async ({ dname, flags, retcode }, client) => {
      // Its cookie is Prepare's, which this host has written itself.
      const { dom } = await finish(client, requestOfFixed({ name: dname, flags }, empty), retcode !== 0);
      return { ddom: dom };
    },
  };
}
