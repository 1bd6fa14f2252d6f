// TLS as in libvirt: locations of certificates and keys, the distinguished name of a client, and the list of allowed names.

import type { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../../protocol/effect-result.js";

export interface Credentials {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
  /** The revocation list, which is optional. */
  readonly crl?: Buffer;
}

/** @throws Error naming the file that cannot be read. */
export async function readCredentials(
  side: "client" | "server",
  pkiPath: string | undefined,
): Promise<Credentials> {
  const at = (usual: string, name: string) =>
    pkiPath === undefined ? join("/etc/pki", usual, name) : join(pkiPath, name);
  // Read in sequence, so that the error always names the first missing file.
  const ca = await read(at("CA", "cacert.pem"));
  const cert = await read(at("libvirt", `${side}cert.pem`));
  const key = await read(at("libvirt/private", `${side}key.pem`));
  const crl = await read(at("CA", "cacrl.pem"), { optional: true });
  return { ca, cert, key, ...(crl.length > 0 && { crl }) };
}

async function read(path: string, { optional = false } = {}): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    if (optional && error instanceof Error && "code" in error && error.code === "ENOENT")
      return Buffer.alloc(0);
    throw new Error(`cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** Attributes that GnuTLS, whose names libvirt's lists use, names differently than OpenSSL. */
const gnutlsNames: Readonly<Record<string, string>> = {
  emailAddress: "EMAIL",
  GN: "givenName",
  SN: "surName",
};

/** Returns the name as `virt-pki-query-dn` prints it: `C=GB,O=Example,CN=host`, in the certificate's order. */
export const distinguishedName = ({ subject }: X509Certificate): string =>
  subject
    .split("\n")
    .map((line) =>
      line
        .split(" + ")
        .map((part) => part.replace(/^[^=]+/, (name) => gnutlsNames[name] ?? name))
        .join("+"),
    )
    .join(",");

/** Matches libvirt's tls_allowed_dn_list: `*` is any characters, `?` is one. An empty list rejects every client. */
export const isAllowed = (name: string, patterns: readonly string[]): boolean =>
  patterns.some((pattern) => {
    const literal = pattern.replace(/[\\^$.|+()[\]{}]/g, "\\$&");
    return new RegExp(`^${literal.replaceAll("*", ".*").replaceAll("?", ".")}$`, "su").test(name);
  });
