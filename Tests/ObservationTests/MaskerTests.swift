import Testing

@testable import Observation

/// Characters that look random and are the same in every run; tokens are put together here, so that no scanner for
/// secrets finds one in this file.
func noise(_ count: Int, _ alphabet: String = "Ab3dEf7hJk2mNp9rTu5wXy8z", seed: Int = 1) -> String {
  let characters = Array(alphabet)
  var state = UInt32(truncatingIfNeeded: seed) &* 2_654_435_761 | 1
  return String(
    (0..<count).map { _ in
      state = state &* 1_664_525 &+ 1_013_904_223
      return characters[Int(state >> 16) % characters.count]
    })
}

let hex = "0123456789abcdef"
let upperAlphabet = "ABCDEFGHJKLMNPQRSTUVWXYZ234567"

func masked(_ arguments: [String], isCut: Bool = false, masker: SecretMasker = SecretMasker()) -> [String] {
  var argv: [UInt8] = []
  for argument in arguments {
    argv.append(contentsOf: argument.utf8)
    argv.append(0)
  }
  if isCut { argv.removeLast() }
  var out = ByteBuffer(capacity: 16)
  withExactCopy(argv) { _ = masker.maskArguments($0, isCut: isCut, into: &out) }
  if !isCut { out.truncate(to: out.count - 1) }
  return out.text.split(separator: "\0", omittingEmptySubsequences: false).map(String.init)
}

/// A token, and the part of it that must not survive.
let tokens: [(name: String, text: String)] = [
  ("github", "ghp" + "_" + noise(36)), ("github oauth", "gho" + "_" + noise(36)),
  ("github user", "ghu" + "_" + noise(36)), ("github server", "ghs" + "_" + noise(36)),
  ("github refresh", "ghr" + "_" + noise(76)), ("github fine", "github" + "_pat_" + noise(22) + "_" + noise(59)),
  ("gitlab", "glpat" + "-" + noise(20)), ("gitlab trigger", "glptt" + "-" + noise(40, hex)),
  ("gitlab deploy", "gldt" + "-" + noise(20)), ("npm", "npm" + "_" + noise(36)),
  ("pypi", "pypi" + "-AgEIcHlwaS5vcmc" + noise(100)), ("slack", "xoxb" + "-123456789012-" + noise(24)),
  ("slack user", "xoxp" + "-1-2-3-" + noise(32, hex)), ("aws", "AKIA" + noise(16, upperAlphabet)),
  ("aws session", "ASIA" + noise(16, upperAlphabet)), ("google", "AIza" + noise(35)),
  ("google oauth", "ya29" + "." + noise(60)), ("stripe", "sk" + "_live_" + noise(24)),
  ("stripe restricted", "rk" + "_live_" + noise(24)), ("docker", "dckr" + "_pat_" + noise(27)),
  ("jwt", "eyJ" + noise(33) + ".eyJ" + noise(60) + "." + noise(43)), ("hugging face", "hf" + "_" + noise(34)),
  ("anthropic", "sk" + "-ant-api03-" + noise(95)), ("openai", "sk" + "-" + noise(48)),
  ("openai project", "sk" + "-proj-" + noise(60)), ("digitalocean", "dop" + "_v1_" + noise(64, hex)),
  ("vault", "hvs" + "." + noise(90)), ("age", "AGE" + "-SECRET-KEY-1" + noise(58, upperAlphabet)),
  ("crates", "cio" + noise(32)), ("rubygems", "rubygems" + "_" + noise(48, hex)),
  ("terraform", noise(14) + ".atlas" + "v1." + noise(67)), ("sendgrid", "SG" + "." + noise(22) + "." + noise(43)),
  ("twilio", "SK" + noise(32, hex)), ("tailscale", "tskey" + "-auth-" + noise(12)),
]

/// What remains of a token is at most what says whose it is.
func survives(_ token: String, in text: String) -> Bool {
  // Any 8 bytes in a row of the token's last two thirds.
  let characters = Array(token.utf8)
  let tail = characters.count / 3
  guard characters.count - tail >= 8 else { return text.contains(token) }
  return (tail...(characters.count - 8)).contains { start in
    text.contains(String(decoding: characters[start..<(start + 8)], as: UTF8.self))
  }
}

@Suite struct MaskerTokenTests {
  @Test(arguments: tokens.indices) func noTokenSurvivesAnyForm(_ index: Int) {
    let token = tokens[index].text
    let forms: [[String]] = [
      ["tool", token], ["tool", "--x=" + token + "/rest"],
      ["tool", "--option=" + token], ["tool", "--option", token], ["tool", "--token", token],
      ["tool", "--api-key=" + token], ["env", "NAME=" + token, "make"], ["docker", "run", "-e", "X_TOKEN=" + token],
      ["sh", "-c", "echo " + token + " | cat"], ["sh", "-c", "export A='" + token + "'; make"],
      ["sh", "-c", "export A=\"" + token + "\"\nmake"],
      ["bash", "-ec", "curl -H \"Authorization: Bearer " + token + "\" x"],
      ["curl", "-H", "Authorization: token " + token, "https://example.org/"],
      ["curl", "-d", "{\"a\":\"" + token + "\"}"], ["git", "clone", "https://x:" + token + "@example.org/a.git"],
      ["git", "clone", "https://" + token + "@example.org/a.git"],
      ["curl", "https://example.org/?a=" + token + "&b=1"],
      ["curl", "https://example.org/" + token + "/getMe"], ["printf", "a\n" + token + "\nb"], ["x", "(" + token + ")"],
      ["x", "a," + token + ",b"], ["x", "[\"" + token + "\"]"], ["x", "grüße" + "=" + token], [token],
    ]
    for form in forms {
      let result = masked(form)
      #expect(result.count == form.count)
      #expect(!survives(token, in: result.joined(separator: "\n")), "\(tokens[index].name): \(result)")
      #expect(result.contains { $0.contains("***") })
      #expect(masked(result) == result)
    }
  }

  @Test(arguments: tokens.indices) func aTokenThatIsCutDoesNotSurvive(_ index: Int) {
    let token = tokens[index].text
    for count in stride(from: 4, to: token.utf8.count, by: 3) {
      let part = String(token.prefix(count))
      for form in [
        ["x", part], ["x", "--a=" + part], ["sh", "-c", "echo hello && x " + part], ["x", "https://u:" + part],
      ] {
        let result = masked(form, isCut: true)
        #expect(result.last?.hasSuffix(part) == false && result.last?.hasSuffix("***") == true)
      }
    }
  }

  @Test func privateKeys() {
    let body = noise(64) + "\n" + noise(64) + "\n" + noise(20) + "=="
    for kind in ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "] {
      let key = "-----BEGIN " + kind + "PRIVATE" + " KEY-----\n" + body + "\n-----END " + kind + "PRIVATE KEY-----"
      for form in [
        ["x", key], ["x", "KEY=" + key], ["sh", "-c", "echo '" + key + "' > k; make"], ["x", String(key.dropLast(40))],
      ] {
        let result = masked(form)
        #expect(!survives(body, in: result.joined(separator: "\n")), "\(result)")
      }
      #expect(masked(["sh", "-c", "echo '" + key + "' > k; make"])[2] == "echo '***' > k; make")
    }
  }
}

@Suite struct MaskerRuleTests {
  /// The command line, and what is left of it.
  @Test(arguments: [
    ("tool --password=hunter2 x", "tool --password=*** x"), ("tool --password hunter2 x", "tool --password *** x"),
    ("tool --api-key hunter2", "tool --api-key ***"), ("tool --client-secret=hunter2", "tool --client-secret=***"),
    ("tool --auth hunter2", "tool --auth ***"), ("tool --private-key=hunter2", "tool --private-key=***"),
    ("tool --passphrase hunter2", "tool --passphrase ***"), ("tool -password hunter2", "tool -password ***"),
    ("keytool -storepass hunter2 -keypass hunter2", "keytool -storepass *** -keypass ***"),
    ("gradle -Psigning.password=hunter2", "gradle -Psigning.password=***"),
    ("mvn -Dgpg.passphrase=hunter2 verify", "mvn -Dgpg.passphrase=*** verify"),
    ("env DB_PASSWORD=hunter2 make", "env DB_PASSWORD=*** make"), ("x apiKey=hunter2", "x apiKey=***"),
    ("docker run -e MYSQL_ROOT_PASSWORD=hunter2 mysql", "docker run -e MYSQL_ROOT_PASSWORD=*** mysql"),
    ("docker build --build-arg NPM_TOKEN=hunter2 .", "docker build --build-arg NPM_TOKEN=*** ."),
    ("x AWS_SECRET_ACCESS_KEY=hunter2", "x AWS_SECRET_ACCESS_KEY=***"),
    ("mysql -uroot -phunter2 db", "mysql -uroot -p*** db"), ("mysql -p db", "mysql -p db"),
    ("docker exec db mysqldump -phunter2 x", "docker exec db mysqldump -p*** x"),
    ("sshpass -p hunter2 ssh host", "sshpass -p *** ssh host"),
    ("sshpass -phunter2 ssh host", "sshpass -p*** ssh host"),
    ("docker login -u me -p hunter2 r.io", "docker login -u me -p *** r.io"),
    ("podman login -phunter2 r.io", "podman login -p*** r.io"),
    ("curl -u me:hunter2 x", "curl -u me:*** x"), ("curl -sSu me:hunter2 x", "curl -sSu me:*** x"),
    ("curl -ume:hunter2 x", "curl -ume:*** x"), ("/usr/bin/curl --user me:hunter2 x", "/usr/bin/curl --user me:*** x"),
    ("sudo curl --proxy-user me:hunter2 x", "sudo curl --proxy-user me:*** x"),
    ("curl -u hunter2: x", "curl -u ***: x"),
    ("curl -b sid=hunter2 x", "curl -b *** x"), ("curl -b jar.txt x", "curl -b jar.txt x"),
    ("wget --password=hunter2 x", "wget --password=*** x"),
    ("wget --http-password=hunter2 x", "wget --http-password=*** x"),
    ("redis-cli -a hunter2 ping", "redis-cli -a *** ping"),
    ("openssl rsa -passin pass:hunter2", "openssl rsa -passin pass:***"),
    ("openssl enc -k hunter2 -in a", "openssl enc -k *** -in a"), ("7z x -phunter2 a.7z", "7z x -p*** a.7z"),
    ("unzip -P hunter2 a.zip", "unzip -P *** a.zip"), ("smbclient -U me%hunter2 //h/s", "smbclient -U me%*** //h/s"),
    ("npm config set //r.example/:_authToken hunter2", "npm config set //r.example/:_authToken ***"),
    ("npm --//r.example/:_authToken=hunter2 ci", "npm --//r.example/:_authToken=*** ci"),
    ("aws configure set aws_secret_access_key hunter2", "aws configure set aws_secret_access_key ***"),
    ("gh secret set NPM_TOKEN --body hunter2", "gh secret set NPM_TOKEN --body ***"),
    ("kubectl create secret generic s --from-literal=k=hunter2", "kubectl create secret generic s --from-literal=***"),
    ("helm install --set db.password=hunter2 x", "helm install --set db.password=*** x"),
    ("nuget push a -ApiKey hunter2", "nuget push a -ApiKey ***"),
    ("git clone https://me:hunter2@h.example/r.git", "git clone https://me:***@h.example/r.git"),
    ("git clone https://hunter2@h.example/r.git", "git clone https://***@h.example/r.git"),
    ("git clone https://hunter2:x-oauth-basic@h.example/r", "git clone https://***:***@h.example/r"),
    ("psql postgres://me:hunt/er2@h.example/db", "psql postgres://me:***@h.example/db"),
    ("psql postgres://me:hunt@er2@h.example/db", "psql postgres://me:***@h.example/db"),
    ("psql postgres://me:hunt#er2@h.example/db", "psql postgres://me:***@h.example/db"),
    ("curl https://h.example/p?token=hunter2&page=2", "curl https://h.example/p?token=***&page=***"),
    ("curl https://h.example/p#access_token=hunter2", "curl https://h.example/p#access_token=***"),
    ("curl https://h.example/p?hunter2hunter2hunter2", "curl https://h.example/p?***"),
    ("az AccountName=a;AccountKey=hunter2;EndpointSuffix=b", "az AccountName=a;AccountKey=***;EndpointSuffix=b"),
    ("az SharedAccessKey=hunter2", "az SharedAccessKey=***"), ("x sv=1&sig=hunter2&se=2", "x sv=1&sig=***&se=2"),
  ])
  func commandLines(_ line: String, _ expected: String) {
    let result = masked(line.split(separator: " ").map(String.init))
    #expect(result.joined(separator: " ") == expected)
    #expect(masked(result) == result)
  }

  /// One argument, and what is left of it.
  @Test(arguments: [
    (["curl", "-H", "Authorization: Bearer hunter2"], "Authorization: Bearer ***"),
    (["curl", "-H", "Authorization: Basic aHVudGVyMg=="], "Authorization: Basic ***"),
    (["curl", "-H", "authorization: token hunter2"], "authorization: token ***"),
    (["curl", "-H", "Authorization: hunter2 x"], "Authorization: ***"),
    (["curl", "-HPRIVATE-TOKEN: hunter2"], "-HPRIVATE-TOKEN: ***"),
    (["curl", "--header", "X-Api-Key:hunter2"], "X-Api-Key:***"),
    (["curl", "-H", "Cookie: sid=hunter2; a=b"], "Cookie: ***"),
    (["git", "-c", "http.extraheader=AUTHORIZATION: basic aHVudGVyMg=="], "http.extraheader=AUTHORIZATION: basic ***"),
    (
      ["curl", "-d", "{\"user\":\"me\",\"password\":\"hunter2\",\"n\":1}"],
      "{\"user\":\"me\",\"password\":\"***\",\"n\":1}"
    ),
    (["curl", "-d", "{\"password\": \"hunt\\\"er2\"}"], "{\"password\": \"***\"}"),
    (["curl", "-d", "{'token': 12345}"], "{'token': ***}"),
    (["curl", "-d", "user=me&password=hunter2&x=1"], "user=me&password=***&x=1"),
    (["env", "PASSWORD=correct horse battery"], "PASSWORD=***"),
    (["sh", "-c", "PASSWORD=hunter2 make install"], "PASSWORD=*** make install"),
    (["sh", "-c", "export TOKEN=hunter2; make"], "export TOKEN=***; make"),
    (["sh", "-c", "export TOKEN='hunt er2' && make"], "export TOKEN=*** && make"),
    (["sh", "-c", "mysql -phunter2 < a.sql"], "mysql -p*** < a.sql"),
    (["sh", "-c", "mysql -p'hunt er2' < a.sql"], "mysql -p*** < a.sql"),
    (["bash", "-lc", "docker login -u me --password hunter2 && true"], "docker login -u me --password *** && true"),
    (["sh", "-c", "curl -u me:hunter2 https://h.example/?a=b | sh"], "curl -u me:*** https://h.example/?a=*** | sh"),
    (["sh", "-c", "sshpass -p \"hunt er2\" ssh h"], "sshpass -p *** ssh h"),
    (["ssh", "h", "cd x && DB_PASSWORD=hunter2 make"], "cd x && DB_PASSWORD=*** make"),
    (["sh", "-c", "echo '{\\\"password\\\": \\\"hunter2\\\"}'"], "echo '{\\\"password\\\": \\\"***\\\"}'"),
    (["python3", "-c", "password = 'hunter2'\nprint(1)"], "password = ***\nprint(1)"),
    (["sh", "-c", "curl -H 'Authorization: Bearer hunter2' x"], "curl -H 'Authorization: Bearer ***' x"),
  ])
  func lastArguments(_ arguments: [String], _ expected: String) {
    let result = masked(arguments)
    #expect(result.last == expected)
    #expect(masked(result) == result)
  }

  /// A shell's script, and what is left of it.
  @Test(arguments: [
    (#"env '--password' 'hunter2' '--token=hunter2' 'x'; true"#, #"env '--password' *** '--token=***' 'x'; true"#),
    (#"x "--password" "hunt er2" 'y'"#, #"x "--password" *** 'y'"#),
    (#"x --password='hunt er2' y"#, "x --password=*** y"),
    (#"x '--password=hunt er2' y"#, "x '--password=***' y"),
    (#"x "--password=hunt \"er2" y"#, #"x "--password=***" y"#),
    (#"x '--password='hunter2 y"#, "x '--password='*** y"), (#"x '--password='"hunter2" y"#, "x '--password='*** y"),
    (#"x '--password=hunt'er2 y"#, "x '--password=***'*** y"), (#"x --password=hunt'e r'2 y"#, "x --password=*** y"),
    (#"x --"password" hunter2 y"#, #"x --"password" *** y"#),
    (#"x "--password"="hunt er2" y"#, #"x "--password"=*** y"#),
    (#"x --"password=hunt er2" y"#, #"x --"password=***" y"#),
    (#"x --password"=hunt er2" y"#, #"x --password"=***" y"#),
    (#"PASSWORD="hunt er2" make x"#, "PASSWORD=*** make x"), (#"x; PASSWORD='hunt er2' y"#, "x; PASSWORD=*** y"),
    (#"export 'PASSWORD=hunt er2' && y"#, "export 'PASSWORD=***' && y"),
    (#"export "PASSWORD"='hunt er2' y"#, #"export "PASSWORD"=*** y"#),
    (#"x --password=$'hunt\'e r2' y"#, "x --password=*** y"), (#"x --password $'hunt\'e r2' y"#, "x --password *** y"),
    (#"x $'--password=hunt\'e r2' 'y'"#, "x $'--password=***' 'y'"),
    (#"x $'--password' hunter2 y"#, "x $'--password' *** y"),
    (#"x $'it\'s' '--password' 'hunt er2' y"#, #"x $'it\'s' '--password' *** y"#),
    ("x --password \\\n  hunter2 \\\n  y", "x --password \\\n  *** \\\n  y"),
    (#"mysql '-phunt er2' y"#, "mysql '-p***' y"), (#"mysql -e 'a; b' -phunter2 y"#, "mysql -e 'a; b' -p*** y"),
    (#"sshpass '-p' 'hunt er2' y"#, "sshpass '-p' *** y"), (#""mysql" "-phunter2""#, #""mysql" "-p***""#),
    (#"curl -u 'me:hunt er2' y"#, "curl -u 'me:***' y"), (#"curl '-u' "me:hunter2" 'y'"#, #"curl '-u' "me:***" 'y'"#),
    (#"curl '-ume:hunt er2' 'y'"#, "curl '-ume:***' 'y'"), (#"curl -u 'me:'"hunt er2" 'y'"#, "curl -u *** 'y'"),
    (#"curl -H "PRIVATE-TOKEN: "hunter2 y"#, #"curl -H "PRIVATE-TOKEN: "*** y"#),
    (#"smbclient -U 'me%hunt er2' y"#, "smbclient -U 'me%***' y"),
    (#"curl -d 'a=b,password=hunt er2' 'y'"#, "curl -d 'a=b,password=***' 'y'"),
    (#"bash -c 'mysql --password=hunter2' y"#, "bash -c 'mysql --password=***' y"),
    (#"bash -c "mysql --password='hunt er2' z" y"#, #"bash -c "mysql --password=*** z" y"#),
    (#"bash -c "mysql '--password=hunt er2' z" y"#, #"bash -c "mysql '--password=***' z" y"#),
    (#"bash -c "mysql '--password' 'hunt er2' z" y"#, #"bash -c "mysql '--password' *** z" y"#),
    (#"bash -c "mysql \"--password=hunt er2\" z" y"#, #"bash -c "mysql \"--password=***\" z" y"#),
    (#"bash -c "mysql \"--password\" \"hunt er2\" z" y"#, #"bash -c "mysql \"--password\" *** z" y"#),
    (#"bash -c "mysql --password=hunt\"e r2\" z" y"#, #"bash -c "mysql --password=*** z" y"#),
    (#"bash -c "x --password=$'hunt\\'e r2' z" y"#, #"bash -c "x --password=*** z" y"#),
    (#"bash -c 'x '\''--password=hunt er2'\'' z' y"#, #"bash -c 'x '\''--password=***'\'' z' y"#),
    (#"bash -c 'x '\''--password'\'' '\''hunt er2'\'' z' y"#, #"bash -c 'x '\''--password'\'' *** z' y"#),
    (#"bash -c 'x --password='\''hunt er2'\'' z' y"#, "bash -c 'x --password=*** z' y"),
    (#"bash -c 'x '"'"'--password=hunt er2'"'"' z' y"#, #"bash -c 'x '"'"'--password=***'"'"' z' y"#),
    (#"bash -c 'x --password='"hunt er2"' z' y"#, "bash -c 'x --password=*** z' y"),
    (#"bash -c 'x --password 'hunter2 y"#, "bash -c 'x --password '*** y"),
    (#"bash -c 'x --password=hunt'"er2" y"#, "bash -c 'x --password=***'*** y"),
    (#"bash -c"mysql -phunter2" y"#, #"bash -c"mysql -p***" y"#),
    (#"bash -c "curl -H 'Authorization: Basic hunter2' z" y"#, #"bash -c "curl -H 'Authorization: Basic ***' z" y"#),
    (#"bash -c "bash -c \"x --password=\\\"hunt er2\\\" z\"" y"#, #"bash -c "bash -c \"x --password=*** z\"" y"#),
    (#"python3 -c "run(['x', '--password', 'hunter2'])" y"#, #"python3 -c "run(['x', '--password', ***)" y"#),
    (#"python3 -c "run(['x', '--password=hunter2', 'z'])" y"#, #"python3 -c "run(['x', '--password=***', 'z'])" y"#),
    (#"x '--password' '' y"#, #"x '--password' '' y"#),
    (#"echo '--no-password' 'y' "z""#, #"echo '--no-password' 'y' "z""#),
    (#"echo 'a b' "c" $'d' e'f'g \"h\" 'i'\''j'"#, #"echo 'a b' "c" $'d' e'f'g \"h\" 'i'\''j'"#),
  ])
  func quotedWords(_ script: String, _ expected: String) {
    let result = masked(["sh", "-c", script])
    #expect(result == ["sh", "-c", expected])
    #expect(masked(result) == result)
    // Not known to be a script: rather too much.
    #expect(!["unt", "er2", "e r2"].contains { masked(["x", script])[1].contains($0) })
  }

  /// Nothing here is secret, so nothing changes.
  @Test(arguments: [
    "cc -DNDEBUG -Iinclude -O2 -g -Wall -std=gnu11 -fstack-protector-strong -MF src/.deps/main.Tpo -c -o main.o main.c",
    "clang -cc1 -triple x86_64-pc-linux-gnu -dump-tokens -fpass-plugin=a.so -mllvm -pass-remarks=inline a.c",
    "ld -z relro --hash-style=gnu --build-id --eh-frame-hdr -m elf_x86_64 -dynamic-linker /lib64/ld-linux-x86-64.so.2",
    "rustc --crate-name tokenizers --edition=2021 src/lib.rs --emit=dep-info,link -C metadata=0f1e2d3c4b5a6978 --cap-lints allow",
    "cargo build --release --features secret-service,tokio/full", "cargo test token::tests -- --nocapture",
    "npm ci --no-audit --prefer-offline --registry https://registry.npmjs.org/ --authtype web",
    "npm install @types/node@20.1.0 jsonwebtoken@9.0.0 --save-dev", "node --max-old-space-size=4096 build/keygen.js",
    "pip install -r requirements.txt --index-url https://pypi.org/simple --no-cache-dir tokenizers==0.15.0",
    "pip install git+https://github.com/org/repo.git@v1.2#egg=name&subdirectory=sub",
    "pip install https://files.example/a.whl#sha256=2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    "pip install git+ssh://git@github.com/org/repo.git", "git clone git@github.com:org/repo.git",
    "git clone ssh://deploy@host.example:22/repo.git",
    "git fetch --depth=1 origin +refs/heads/main:refs/remotes/origin/main",
    "git -c credential.helper=store -c user.name=Me commit --author=Me<me@example.org> -m keys",
    "git log --author=someone --format=%H", "git commit -m Add-token-refresh", "git checkout -b feature/secret-santa",
    "docker run -p 8080:80 -u 1000:1000 --name mysql -p3306:3306 mysql:8", "docker build -t org/token-service:1.0 .",
    "docker login --username me --password-stdin registry.example", "docker run -v /a:/b:ro alpine:3.19 true",
    "ssh -p 22 -o StrictHostKeyChecking=no host", "rsync -a --password-file=/run/x src/ host::dst",
    "make -j8 PREFIX=/usr CC=gcc V=1", "cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DENABLE_SECRETS=ON -GNinja",
    "curl -fsSL https://example.org/a/b@v1.2/c.tar.gz -o c.tar.gz", "wget --auth-no-challenge https://example.org/x",
    "tar -xzpf a.tar.gz", "cp -p a b", "mkdir -p /tmp/mysql", "java -Xmx2g -Dfile.encoding=UTF-8 -jar x.jar",
    "go build -trimpath -ldflags=-s -o bin/tool ./cmd/tool", "gh pr create --body text --title t",
    "env SSH_AUTH_SOCK=/tmp/s PWD=/home OLDPWD=/ GPG_TTY=/dev/pts/0 PASSWORD_STORE_DIR=/x make",
    "python3 -m pytest tests/test_auth.py::TestToken -k password", "sk-learn-something-long-name-of-a-package",
    "disk-utility-with-a-long-name-abcdefghijklmnop task-runner-abcdefghijklmnopqrstuvwxyz0",
    "x npm_config_registry npm_lifecycle_event",
    "x eyJust.a.test hf_hub_download glpat- ghp_short AKIASHORT SG.x.y", "sed s/=/:/g a=b c:d e==f", "", "-", "--", "=",
    "://", "a://", "?",
  ])
  func falsePositives(_ line: String) {
    let arguments = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    #expect(masked(arguments) == arguments)
  }

  @Test func webhooks() {
    let address = "https://hooks.slack" + ".com/services/T"
    #expect(masked(["x", address + "0AB1/B" + noise(8) + "/" + noise(24)]) == ["x", address + "***"])
  }

  @Test func sentencesKeepTheirWords() {
    for text in ["Fix the login of curl -u users", "don't touch the password file", "a && b || c; d > e"] {
      #expect(masked(["git", "commit", "-m", text]).last == text)
    }
  }

  @Test(
    "the three bytes that a prefix is found by do not suffice",
    arguments: [
      ("/src/benchmarks/storm", false), ("lib/hooks/php_x", false), ("x/client-data", false),
      ("https://x/api/webhooks/1", true), ("ghp_", true), ("a=sk-ant-b", true), ("SKa", true),
    ])
  func prefixes(text: String, mayHold: Bool) {
    let found = bytes(text).withUnsafeBytes { MaskPrefilter.shared.mayHoldSecret($0) }
    #expect(found == mayHold)
  }

  @Test func theFirstPassAloneDecides() {
    var slow = SecretMasker()
    slow.usesPrefilter = false
    let lines = [
      "cc -c a.c", "mysql -phunter2", "7z x -phunter2 a", "xh -a me:hunter2 x", "docker login -p x", "a ://b:c@d",
    ]
    for line in lines {
      let arguments = line.split(separator: " ").map(String.init)
      #expect(masked(arguments) == masked(arguments, masker: slow))
    }
  }
}

@Suite struct MaskerModeTests {
  @Test func countsAndKeepsTheArguments() {
    let masker = SecretMasker()
    var out = ByteBuffer()
    let argv = bytes("x\0--password=a1b2\0\0--token\0c3d4\0")
    let count = withExactCopy(argv) { masker.maskArguments($0, into: &out) }
    #expect(count == 2 && out.text == "x\0--password=***\0\0--token\0***\0")
    let again = out.array
    out.removeAll()
    #expect(withExactCopy(again) { masker.maskArguments($0, into: &out) } == 0)
    #expect(out.array == again)
    out.removeAll()
    #expect(withExactCopy([]) { masker.maskArguments($0, into: &out) } == 0)
    #expect(out.count == 0)
  }

  @Test func appendsBehindWhatIsThere() {
    var out = ByteBuffer()
    out.append("before|")
    withExactCopy(bytes("x\0--token=abcdef\0")) { _ = SecretMasker().maskArguments($0, into: &out) }
    #expect(out.text == "before|x\0--token=***\0")
  }

  @Test func fullChangesNothing() {
    let line = ["x", "--password=hunter2", "https://a:b@c/?d=e"]
    #expect(masked(line, masker: SecretMasker(mode: .full)) == line)
    #expect(SecretMasker(mode: .full).masked("https://a:b@c/?d=e") == "https://a:b@c/?d=e")
  }

  @Test func hashesAreKeyed() {
    let masker = SecretMasker(mode: .hashed)
    let result = masked(["tool", "a", "b", "a", ""], masker: masker)
    #expect(result[0] == "tool" && result[1] == result[3] && result[1] != result[2] && result[4] == "")
    #expect(result[1].hasPrefix("siphash:") && result[1].utf8.count == 24)
    #expect(masked(["tool", "a"], masker: SecretMasker(mode: .hashed))[1] != result[1])
  }

  @Test func patterns() throws {
    let masker = try SecretMasker(patterns: ["s3cr3t", "acme-*-key", "two words", "??zz9", "*.corp.example"])
    #expect(
      masked(["x", "a-s3cr3t-b", "acme-12-key", "acme-1 2-key", "abzz9"], masker: masker) == [
        "x", "a-***-b", "***", "acme-1 2-key", "***",
      ])
    #expect(
      masked(["x", "say two words now", "https://db.corp.example/x"], masker: masker) == ["x", "say *** now", "***/x"])
    // Half of a token by its shape and half by a pattern: all of it.
    let token = "ghp" + "_" + noise(18) + "s3cr3t" + noise(18)
    #expect(masked(["x", token], masker: masker) == ["x", "***"])
    // A cut inside a pattern with a space.
    #expect(masked(["x", "say two wor"], isCut: true, masker: masker) == ["x", "say ***"])
    #expect(masked(["x", "***", "acme-***-key"], masker: masker) == ["x", "***", "acme-***-key"])
    for bad in ["", "*", "a", "?*?", "a\0b"] {
      #expect(throws: SecretMasker.PatternError(pattern: bad)) { try SecretMasker(patterns: [bad]) }
    }
  }

  @Test func textsCutAtTheirHead() {
    func head(_ text: String) -> String {
      var out = ByteBuffer()
      withExactCopy(bytes(text)) { _ = SecretMasker().maskText($0, cut: .head, into: &out) }
      return out.text
    }
    #expect(head("halfatoken/usr/lib") == "***/usr/lib" && head("/usr/lib") == "/usr/lib")
  }

  @Test func longAndHostileArgumentsEnd() {
    for unit in [
      "a=", "token=", "://", "a://b:c@", "eyJ", "-----BEGIN ", "\"", "'token':", "ghp_", "--password ", "\\", "?a=b#",
      "Bearer ", "'--password' ", "\"token=", "'\\''token=", "x '\\''--token '", "mysql -p'", "bash \"--token=\\\"a ",
    ] {
      let text = String(repeating: unit, count: 16_000 / unit.utf8.count)
      let result = masked(["sh", "-c", text])
      #expect(masked(result) == result)
    }
  }
}
