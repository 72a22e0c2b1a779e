extension FilesSection.Protected {
  /// Where CI systems look for their pipelines, relative to the directory that the job starts in.
  public static let pipelineFiles: [PathPattern] =
    [
      ".gitlab-ci.yml", "Jenkinsfile", "azure-pipelines.yml", "azure-pipelines.yaml", "bitbucket-pipelines.yml",
      ".travis.yml", ".drone.yml", ".woodpecker.yml", ".woodpecker.yaml", ".cirrus.yml", "appveyor.yml",
      ".appveyor.yml", "cloudbuild.yaml", "buildspec.yml", ".pre-commit-config.yaml",
    ].map { PathPattern(.file, $0, isRelative: true) }
    + [
      ".github/workflows", ".github/actions", ".gitlab/ci", ".circleci", ".buildkite", ".woodpecker", ".tekton",
      ".semaphore", ".forgejo/workflows", ".gitea/workflows",
    ].map { PathPattern(.below, $0, isRelative: true) }

  /// What holds credentials, relative to a home directory.
  public static let credentialFiles: [PathPattern] =
    [".ssh", ".aws", ".azure", ".config/gcloud", ".kube", ".gnupg", ".config/op", ".terraform.d"].map {
      PathPattern(.below, $0, isRelative: true)
    }
    + [
      ".netrc", ".npmrc", ".pypirc", ".git-credentials", ".config/git/credentials", ".config/gh/hosts.yml",
      ".docker/config.json", ".cargo/credentials", ".cargo/credentials.toml", ".gem/credentials", ".m2/settings.xml",
      ".m2/settings-security.xml", ".gradle/gradle.properties", ".vault-token", ".pgpass", ".my.cnf",
      ".config/pip/pip.conf", ".config/containers/auth.json",
    ].map { PathPattern(.file, $0, isRelative: true) }

  /// Whether a whole path is one of ``credentialFiles``, whichever directory above it is somebody's home.
  public static func isCredential(_ path: UnsafeRawBufferPointer) -> Bool {
    // All of them begin with a dot: what else a path consists of is not looked at.
    let (slash, dot) = (UInt8(ascii: "/"), UInt8(ascii: "."))
    for at in path.indices.dropLast() where path[at] == slash && path[at + 1] == dot {
      let rest = path[(at + 1)...]
      let isOne = credentialFiles.contains { pattern in
        guard rest.starts(with: pattern.text.utf8) else { return false }
        let behind = rest.dropFirst(pattern.text.utf8.count)
        return pattern.form == .file ? behind.isEmpty : behind.first == slash && behind.count > 1
      }
      if isOne { return true }
    }
    return false
  }
}
