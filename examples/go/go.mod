module example.com/inlay

go 1.19
