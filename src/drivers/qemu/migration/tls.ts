// TLS credentials for a QEMU, for the memory stream or for NBD: certificates by libvirt's conventions for QEMU,
// checked before anything starts, added to QEMU under an id, and removed again. QEMU itself runs the sessions.

import { access, constants, mkdir, realpath, symlink, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { messageOf } from "../../../protocol/effect-result.js";
import { defaultTlsCredentials } from "../../../protocol/options/memory.js";
import type { TlsOptions } from "../../../protocol/stream.js";
import type { Monitor } from "../monitor/commands.js";
import { QmpCommandError } from "../monitor/errors.js";
import { dhParams } from "./dh-params.js";

export interface TlsCredentials {
  /**
   * Directory on this host: `ca-cert.pem`, `server-` or `client-cert.pem` and `-key.pem`, and optionally
   * `ca-crl.pem`.
   */
  readonly directory: string;
  /** The listening side is the server. */
  readonly endpoint: "server" | "client";
  /** Whether a server requires a certificate from its client; a client always requires one from its server. */
  readonly verifyPeer: boolean;
  /** GnuTLS' priority string. Default: QEMU's own. */
  readonly priority?: string | undefined;
}

export const credentialsOf = (
  { credentials = defaultTlsCredentials, verifyPeer = true, priority }: TlsOptions,
  endpoint: TlsCredentials["endpoint"],
): TlsCredentials => ({ directory: credentials, endpoint, verifyPeer, priority });

const dhParamsFile = "dh-params.pem";
const isReadable = (path: string) =>
  access(path, constants.R_OK).then(
    () => true,
    () => false,
  );

/** @throws Error naming the directory or the file that cannot be read. */
export async function checkTlsCredentials({
  directory,
  endpoint,
  verifyPeer,
}: TlsCredentials): Promise<void> {
  const wanted = ["ca-cert.pem", `${endpoint}-cert.pem`, `${endpoint}-key.pem`];
  // A client needs no certificate when the server does not require one.
  if (endpoint === "client" && !verifyPeer) wanted.length = 1;
  if (!(await isReadable(directory)))
    throw new Error(
      `TLS requires the directory ${directory}, which cannot be read; put ${wanted.join(", ")} there`,
    );
  for (const file of wanted) {
    const path = join(directory, file);
    if (!(await isReadable(path))) throw new Error(`TLS requires ${path}, which cannot be read`);
  }
}

/**
 * Replaces a leftover under this id. `ownDirectory`, which a server needs, does not exist yet and is removed with the
 * QEMU: without Diffie-Hellman parameters beside its certificates a server would generate some, and its monitor would
 * not respond for up to 2.5 s. @throws as checkTlsCredentials, and the monitor's errors.
 */
export async function addTlsCredentials(
  monitor: Monitor,
  id: string,
  credentials: TlsCredentials,
  ownDirectory: string | null,
): Promise<void> {
  await checkTlsCredentials(credentials);
  const { endpoint, verifyPeer, priority } = credentials;
  const given = resolve(credentials.directory);
  const isComplete = endpoint === "client" || (await isReadable(join(given, dhParamsFile)));
  const dir = isComplete || ownDirectory === null ? given : await besideDhParams(given, ownDirectory);
  await removeTlsCredentials(monitor, id);
  await monitor.execute("object-add", {
    "qom-type": "tls-creds-x509",
    id,
    dir,
    endpoint,
    priority,
    "verify-peer": endpoint === "client" || verifyPeer,
  });
}

/** Succeeds also when they do not exist. @throws the monitor's other errors. */
export async function removeTlsCredentials(monitor: Monitor, id: string): Promise<void> {
  try {
    await monitor.execute("object-del", { id });
  } catch (error) {
    if (!(error instanceof QmpCommandError && /not found/.test(messageOf(error)))) throw error;
  }
}

async function besideDhParams(given: string, ownDirectory: string): Promise<string> {
  await mkdir(ownDirectory, { recursive: true, mode: 0o700 });
  await writeFile(join(ownDirectory, dhParamsFile), dhParams);
  for (const file of ["ca-cert.pem", "ca-crl.pem", "server-cert.pem", "server-key.pem"]) {
    const path = join(given, file);
    if (!(await isReadable(path))) continue;
    await symlink(await realpath(path), join(ownDirectory, file)).catch((error: unknown) => {
      if (!messageOf(error).includes("EEXIST")) throw error;
    });
  }
  return ownDirectory;
}
