// node's client: client.js PROTOCOL PORT CONNECTIONS DIRECTORY; see clients.py about what all clients do.
const fs = require("fs"), https = require("https"), http2 = require("http2");
const [protocol, port, count, directory] = process.argv.slice(2);
const name = "node" + protocol;
const host = "localhost:" + port;
const path = (round, index) => `/${name}/${round}/${index}`;

function open1() {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false });
  const ask = (path) => new Promise((done, failed) => {
    const request = https.request({ host: "127.0.0.1", port, path: path + "?secret=hunter2", agent,
      headers: { host, authorization: "Bearer hunter2" } }, (response) => {
      response.resume();
      response.on("end", done);
    });
    request.on("error", failed);
    request.end();
  });
  return { ask, close: () => agent.destroy() };
}

function open2() {
  const session = http2.connect("https://127.0.0.1:" + port, { rejectUnauthorized: false });
  const ask = (path) => new Promise((done, failed) => {
    const stream = session.request({ ":path": path + "?secret=hunter2", ":authority": host, cookie: "hunter2" });
    stream.on("error", failed);
    stream.resume();
    stream.on("end", done);
  });
  session.on("error", () => {});
  return { ask, close: () => new Promise((done) => session.close(done)) };
}

async function run() {
  const open = protocol === "1" ? open1 : open2;
  const all = Array.from({ length: Number(count) }, open);
  await Promise.all(all.map((connection, index) => connection.ask(path(0, index))));
  fs.writeFileSync(`${directory}/${name}.open`, "");
  while (!fs.existsSync(directory + "/all")) await new Promise((done) => setTimeout(done, 20));
  await Promise.all(all.map((connection, index) => connection.ask(path(1, index))));
  for (let index = 0; index < all.length; index += 2) {
    await all[index].close();
    all[index] = open();
    await all[index].ask(path(2, index));
  }
  await Promise.all(all.map((connection) => connection.close()));
}
run().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
