// Go's client: client PROTOCOL PORT CONNECTIONS DIRECTORY; see clients.py about what all clients do.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	protocol, port, directory := os.Args[1], os.Args[2], os.Args[4]
	count, err := strconv.Atoi(os.Args[3])
	check(err)
	name := "go" + protocol
	open := func() *http.Client {
		transport := &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			ForceAttemptHTTP2: protocol == "2",
		}
		return &http.Client{Transport: transport}
	}
	ask := func(client *http.Client, round, index int) {
		url := fmt.Sprintf("https://127.0.0.1:%s/%s/%d/%d?secret=hunter2", port, name, round, index)
		request, err := http.NewRequest("GET", url, nil)
		check(err)
		request.Host = "localhost:" + port
		request.Header.Set("Authorization", "Bearer hunter2")
		response, err := client.Do(request)
		check(err)
		_, err = io.Copy(io.Discard, response.Body)
		check(err)
		response.Body.Close()
	}
	clients := make([]*http.Client, count)
	everybody := func(round int) {
		var group sync.WaitGroup
		for index := range clients {
			group.Add(1)
			go func(index int) {
				defer group.Done()
				ask(clients[index], round, index)
			}(index)
		}
		group.Wait()
	}
	for index := range clients {
		clients[index] = open()
	}
	everybody(0)
	check(os.WriteFile(directory+"/"+name+".open", nil, 0o644))
	for {
		if _, err := os.Stat(directory + "/all"); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	everybody(1)
	for index := 0; index < count; index += 2 {
		clients[index].CloseIdleConnections()
		clients[index] = open()
		ask(clients[index], 2, index)
	}
}
