import { execFileSync, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { describe, expect, onTestFinished, test } from "vitest";
import { distinguishedName, isAllowed } from "../../../../../src/drivers/libvirt/rpc/certificates.js";
import { RpcConnectError, RpcListenError } from "../../../../../src/drivers/libvirt/rpc/errors.js";
import { openConnection } from "../../../../../src/drivers/libvirt/rpc/open.js";
import { remote } from "../../../../../src/drivers/libvirt/rpc/procedures.js";
import { RpcServer } from "../../../../../src/drivers/libvirt/rpc/server.js";
import { type RpcClient, serveRemote } from "../../../../../src/drivers/libvirt/rpc/service.js";
import { systemClock } from "../../../../../src/drivers/platform/clock.js";
import { patienceMs } from "../../../../support/patience.js";
import { Authority, hasOpenssl } from "../../../../support/pki.js";
import { temporaryDirectory } from "../../../../support/rpc-pair.js";

const subject = "/C=GB/ST=London/O=Example, Inc/CN=hosta";

describe.skipIf(!hasOpenssl)("TLS", () => {
  function authorities() {
    const directory = temporaryDirectory();
    return { ours: new Authority(directory, "ours"), others: new Authority(directory, "others") };
  }

  async function serving(pkiPath: string, allowedDns?: readonly string[]) {
    const seen: RpcClient[] = [];
    const server = new RpcServer({
      clock: systemClock,
      services: [
        serveRemote({
          connectOpen: (_, client) => {
            seen.push(client);
          },
          connectGetHostname: () => ({ hostname: "hostb" }),
          connectClose: () => {},
        }),
      ],
    });
    onTestFinished(() => server.stop({ deadlineMs: 0 }));
    const port = await server.listenTls({
      host: "127.0.0.1",
      port: 0,
      pkiPath,
      ...(allowedDns !== undefined && { allowedDns }),
    });
    return { port, seen, server };
  }

  const open = (port: number, pkiPath: string, { deadlineMs = patienceMs } = {}) =>
    openConnection(`qemu+tls://localhost:${port}/system?pkipath=${pkiPath}`, {
      clock: systemClock,
      deadlineMs,
    });

  test("accepts a client with a certificate of the CA, and reports its name to the server", async () => {
    const { ours } = authorities();
    const { port, seen } = await serving(ours.issue("server", "/CN=hostb"));
    const { rpc, close } = await open(port, ours.issue("client", subject));
    expect(await rpc.call(remote.procedures.connectGetHostname, undefined)).toEqual({ hostname: "hostb" });
    expect(seen[0]?.identity).toMatchObject({
      transport: "tls",
      dn: "C=GB,ST=London,O=Example\\, Inc,CN=hosta",
    });
    await close();
    expect(await rpc.closed).toBeDefined();
  });

  test("rejects a client of another CA, one without a certificate, and one that is not on the list", async () => {
    const { ours, others } = authorities();
    const serverPki = ours.issue("server", "/CN=hostb");
    const { port, seen, server } = await serving(serverPki, ["C=GB,*,CN=host?", "CN=admin"]);
    const allowed = await open(port, ours.issue("client", subject));
    await allowed.close();

    const stranger = ours.issue("client", "/C=GB/CN=stranger");
    await expect(open(port, stranger)).rejects.toBeInstanceOf(RpcConnectError);
    await expect(open(port, stranger)).rejects.toThrow(
      `cannot connect to localhost:${port}: the server closed the connection: it does not accept the client certificate`,
    );

    // Signed by another CA, and configured to trust ours, so that the server is the one that refuses.
    const foreign = others.issue("client", "/C=GB/O=x/CN=hosta");
    execFileSync("cp", [join(serverPki, "cacert.pem"), join(foreign, "cacert.pem")]);
    await expect(open(port, foreign)).rejects.toBeInstanceOf(RpcConnectError);

    const nameless = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
    nameless.on("error", () => {});
    nameless.resume();
    await new Promise((resolve) => nameless.once("close", resolve));
    expect(nameless.bytesRead).toBe(0);
    expect(seen).toHaveLength(1);
    expect(server.clients).toHaveLength(0);
  });

  test("rejects a client whose certificate was revoked", async () => {
    const { ours } = authorities();
    const serverPki = ours.issue("server", "/CN=hostb");
    const client = ours.issue("client", subject);
    ours.revoke(client, serverPki);
    const { port } = await serving(serverPki);
    await expect(open(port, client)).rejects.toBeInstanceOf(RpcConnectError);
    const other = await open(port, ours.issue("client", "/CN=other"));
    await other.close();
  });

  test("does not trust a server of another CA, nor one with another name", async () => {
    const { ours, others } = authorities();
    const client = ours.issue("client", subject);
    const impostor = await serving(others.issue("server", "/CN=hostb"));
    await expect(open(impostor.port, client)).rejects.toThrow(/unable to verify|self-signed/);
    const elsewhere = ours.issue("server", "/CN=localhost", { names: "DNS:elsewhere" });
    const { port } = await serving(elsewhere);
    await expect(open(port, client)).rejects.toThrow("localhost. is not in the cert's altnames");
  });

  test("abandons a server that does not finish the handshake", async () => {
    const { ours } = authorities();
    const silent = createServer();
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      silent.close();
    });
    const address = silent.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    await expect(open(port, ours.issue("client", subject), { deadlineMs: 50 })).rejects.toThrow(
      `cannot connect to localhost:${port}: the server did not accept the connection within 50 ms`,
    );
  });

  test("names a missing file, on either side", async () => {
    const { ours } = authorities();
    const client = ours.issue("client", subject);
    rmSync(join(client, "clientkey.pem"));
    await expect(open(1, client)).rejects.toThrow(`cannot read ${client}/clientkey.pem`);
    await expect(open(1, "/nonexistent")).rejects.toThrow("cannot read /nonexistent/cacert.pem");
    const server = new RpcServer({ clock: systemClock, services: [] });
    await expect(server.listenTls({ host: "127.0.0.1", port: 0 })).rejects.toBeInstanceOf(RpcListenError);
    await expect(server.listenTls({ host: "127.0.0.1", port: 0 })).rejects.toThrow(
      "cannot read /etc/pki/CA/cacert.pem",
    );
  });

  const queryDn = "virt-pki-query-dn";
  const hasQueryDn = spawnSync(queryDn, ["--version"]).status === 0;
  if (!hasQueryDn) console.warn(`names are not compared with libvirt's: there is no ${queryDn} here`);

  test.skipIf(!hasQueryDn)("names a client as libvirt does", () => {
    const { ours } = authorities();
    for (const name of [
      subject,
      '/O=Grüße/CN=#a"b<c>d;e=f/emailAddress=a@b.c',
      "/DC=org/DC=example/UID=me/serialNumber=12/SN=Sur/GN=Given/street=S/title=T/L=Here/OU=Unit/CN=x",
    ]) {
      const pem = join(ours.issue("client", name), "clientcert.pem");
      const libvirts = execFileSync(queryDn, [pem], { encoding: "utf8" }).trimEnd();
      expect(distinguishedName(new X509Certificate(readFileSync(pem)))).toBe(libvirts.replace(/^DN:\s*/, ""));
    }
  });
});

describe("the list of names", () => {
  test("matches whole names, with * for any characters and ? for one", () => {
    const name = "C=GB,O=Example\\, Inc,CN=host(1)";
    expect(isAllowed(name, [name])).toBe(true);
    expect(isAllowed(name, ["C=GB,*"])).toBe(true);
    expect(isAllowed(name, ["*CN=host(?)"])).toBe(true);
    expect(isAllowed(name, ["nobody", "*"])).toBe(true);
    expect(isAllowed(name, ["C=GB"])).toBe(false);
    expect(isAllowed(name, ["CN=host(1)"])).toBe(false);
    expect(isAllowed(name, ["C=GB,O=Example\\, Inc,CN=host.1."])).toBe(false);
    expect(isAllowed(name, [])).toBe(false);
  });
});
