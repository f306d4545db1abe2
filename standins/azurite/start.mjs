// Runs Azurite's blob and queue services in this process, on free loopback ports, for as long as stdin is open.
//
//   node start.mjs [--tls CERTIFICATE KEY] [directory]
//
// With a certificate it serves HTTPS alone, and takes Entra's access tokens beside the account's key (it reads a token's times,
// issuer and audience, and no signature or role).
// Prints one line, {"blob":PORT,"queue":PORT}, once both services listen. Data is kept in memory, or in the directory.
// Azurite's own entry points keep running when their parent is killed and also start a table service; this one does not.
// The telemetry client is never initialised, so nothing is sent anywhere.

import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(import.meta.url);
const source = (name) => require(`azurite/dist/src/${name}`);

const options = process.argv.slice(2);
const [, certificate, key] = options[0] === "--tls" ? options.splice(0, 3) : [];
const [directory] = options;
const services = [];

let stopping = false;
process.stdin.resume();
for (const event of ["end", "close", "error"]) process.stdin.on(event, stop);
process.once("SIGTERM", stop);

if (directory !== undefined) mkdirSync(directory, { recursive: true });
source("common/Logger").configLogger(false);
const blob = await start("blob", "Blob", "BLOB", "blobstorage");
const queue = await start("queue", "Queue", "QUEUE", "queuestorage");
process.stdout.write(`${JSON.stringify({ blob, queue })}\n`);

async function start(folder, name, prefix, extents) {
  const Configuration = source(`${folder}/${name}Configuration`).default;
  const Server = source(`${folder}/${name}Server`).default;
  const constants = source(`${folder}/utils/constants`);
  const place = (file) => join(directory ?? "", file);
  const store = constants[`DEFAULT_${prefix}_PERSISTENCE_ARRAY`];
  store[0].locationPath = place(`__${extents}__`);

  const server = new Server(
    new Configuration(
      "127.0.0.1",
      0, // the system picks a free port, so two stacks at once cannot collide
      undefined, // keepAliveTimeout: Node's own
      place(constants[`DEFAULT_${prefix}_LOKI_DB_PATH`]),
      place(constants[`DEFAULT_${prefix}_EXTENT_LOKI_DB_PATH`]),
      store,
      false, // enableAccessLog
      undefined, // accessLogWriteStream
      false, // enableDebugLog
      undefined, // debugLogFilePath
      false, // loose
      true, // skipApiVersionCheck: an SDK newer than the emulator is no reason to fail
      certificate ?? "",
      key ?? "",
      "", // pwd
      certificate === undefined ? undefined : "basic", // oauth, which is for HTTPS alone
      true, // disableProductStyleUrl: the account is the first segment of the path
      directory === undefined, // isMemoryPersistence
    ),
  );
  await server.start();
  refuseOtherPages(server.httpServer);
  services.push(server);
  return server.httpServer.address().port;
}

// A page of another site can make a browser send requests here, under a name that it lets point to 127.0.0.1, or with an Origin.
function refuseOtherPages(http) {
  const [answer] = http.listeners("request");
  http.removeAllListeners("request");
  http.on("request", (request, response) => {
    const { host = "", origin } = request.headers;
    const isLoopback = /^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/.test(host);
    if (isLoopback && origin === undefined) answer.call(http, request, response);
    else response.writeHead(403).end();
  });
}

async function stop() {
  if (stopping) return;
  stopping = true;
  if (directory === undefined) process.exit(0); // nothing to keep
  setTimeout(() => process.exit(0), 3000);
  await Promise.allSettled(services.map((service) => service.close()));
  process.exit(0);
}
