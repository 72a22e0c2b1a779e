// An HTTPS server for HTTP/1.1 and HTTP/2 that remembers what each client port asked for. It writes its port to the file
// that it is given, and what it saw to standard output when its standard input ends.
const fs = require("fs"), http2 = require("http2");
const [directory, portFile] = process.argv.slice(2);
const seen = {};
let most = 0, open = 0;
const server = http2.createSecureServer({
  key: fs.readFileSync(directory + "/key.pem"), cert: fs.readFileSync(directory + "/cert.pem"), allowHTTP1: true,
});
server.on("connection", (socket) => {
  most = Math.max(most, ++open);
  socket.on("close", () => open--);
  socket.on("error", () => {});
});
server.on("session", (session) => session.on("error", () => {}));
server.on("tlsClientError", () => {});
server.on("request", (request, response) => {
  const socket = request.httpVersionMajor === 2 ? request.stream.session.socket : request.socket;
  const host = request.headers[":authority"] || request.headers.host;
  (seen[socket.remotePort] ||= []).push([request.method, host, request.url, request.httpVersionMajor]);
  request.on("data", () => {});
  request.on("end", () => response.end(String(open)));
});
server.listen(0, "127.0.0.1", 4096, () => fs.writeFileSync(portFile, String(server.address().port)));
process.stdin.on("end", () => {
  process.stdout.write(JSON.stringify({ seen, most }), () => process.exit(0));
});
process.stdin.resume();
