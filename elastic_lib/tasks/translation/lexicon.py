"""The trilingual lexicon of the pocket translation world: one entry a line, each meaning in French, English and German.

Columns stand between bars, the forms of one word between commas; a form that does not exist is '-'. A noun is singular
and plural in each language (German adds the other cases' singular where it differs: Junge, Jungen) and then the weights
with which it is drawn in everyday sentences and in captions. An object may end with what it is for (food, reading,
vehicle), a place ends with its preposition. An adjective has its masculine and feminine, its place in French
('invariable': after the noun, without endings), the German stem, weights and the categories it fits. A verb is given
as in a dictionary, without what can be predicted: French 'il', 'ils', participle, infinitive; English base, past, -ing;
German 'er', infinitive, perfect ('sammelt ein' separates, 'ist gelaufen' takes sein); then weights, subjects, objects.

The English column says how much of the meaning English keeps.
- Between ' ~ ' stand words of which English takes any, as it loses a distinction that French and German keep: rue and
  route are both road or street, yet Straße and Fahrbahn. Who translates through English has to guess, unless the two
  translators agree on a habit of their own: so English can drift. The distinction is lost as well where entries share
  an English word (ouvrier, ouvrière: worker; balle, ballon: ball).
- Between '; ' stand plain alternatives: the first is the main word, the others are synonyms, more common in captions.
- French has double meanings too: a livre is a book or a pound, a glace is ice cream or a mirror.
"""

from elastic_lib.tasks.translation.words import adjectives, nouns, verbs

ASPIRATED = frozenset({"haut", "hauts"})  # no French word before these is elided
EATING = {"isst": "frisst", "essen": "fressen", "gegessen": "gefressen"}  # what people do, and what animals do
# Hand-wrapped, as each table would open on three lines.
# fmt: off
PEOPLE = nouns("person", """\
homme, hommes, m | man, men ~ guy, guys | Mann, Männer, m | 5, 6
type, types, m | man, men ~ guy, guys | Kerl, Kerle, m | 4, 5
femme, femmes, f | woman, women ~ lady, ladies | Frau, Frauen, f | 5, 6
dame, dames, f | woman, women ~ lady, ladies | Dame, Damen, f | 4, 5
garçon, garçons, m | boy, boys ~ lad, lads | Junge, Jungen, m, Jungen | 2, 4
gamin, gamins, m | boy, boys ~ lad, lads | Bengel, Bengel, m | 1, 3
fille, filles, f | girl, girls | Mädchen, Mädchen, n | 2, 6
enfant, enfants, m | child, children ~ kid, kids | Kind, Kinder, n | 3, 4
gosse, gosses, m | child, children ~ kid, kids | Knirps, Knirpse, m | 2, 3
bébé, bébés, m | baby, babies | Baby, Babys, n | 0.6, 2
policier, policiers, m | policeman, policemen; officer, officers | Polizist, Polizisten, m, Polizisten | 1, 2
pompier, pompiers, m | firefighter, firefighters; fireman, firemen | Feuerwehrmann, Feuerwehrmänner, m | 0.3, 2
ouvrier, ouvriers, m | worker, workers | Arbeiter, Arbeiter, m | 1.5, 2
ouvrière, ouvrières, f | worker, workers | Arbeiterin, Arbeiterinnen, f | 1.5, 2
ami, amis, m | friend, friends; buddy, buddies | Freund, Freunde, m | 3, 2
amie, amies, f | friend, friends; pal, pals | Freundin, Freundinnen, f | 3, 2
étudiant, étudiants, m | student, students | Student, Studenten, m, Studenten | 3, 1.5
étudiante, étudiantes, f | student, students | Studentin, Studentinnen, f | 3, 1.5
voisin, voisins, m | neighbor, neighbors | Nachbar, Nachbarn, m, Nachbarn | 1.5, 1
voisine, voisines, f | neighbor, neighbors | Nachbarin, Nachbarinnen, f | 1.5, 1
chanteur, chanteurs, m | singer, singers | Sänger, Sänger, m | 0.5, 2
chanteuse, chanteuses, f | singer, singers | Sängerin, Sängerinnen, f | 0.5, 2
danseur, danseurs, m | dancer, dancers | Tänzer, Tänzer, m | 0.4, 2
danseuse, danseuses, f | dancer, dancers | Tänzerin, Tänzerinnen, f | 0.4, 2
joueur, joueurs, m | player, players | Spieler, Spieler, m | 0.5, 3
joueuse, joueuses, f | player, players | Spielerin, Spielerinnen, f | 0.5, 3
coureur, coureurs, m | runner, runners | Läufer, Läufer, m | 0.2, 1.5
coureuse, coureuses, f | runner, runners | Läuferin, Läuferinnen, f | 0.2, 1.5
nageur, nageurs, m | swimmer, swimmers | Schwimmer, Schwimmer, m | 0.2, 1
nageuse, nageuses, f | swimmer, swimmers | Schwimmerin, Schwimmerinnen, f | 0.2, 1
musicien, musiciens, m | musician, musicians | Musiker, Musiker, m | 0.5, 2
musicienne, musiciennes, f | musician, musicians | Musikerin, Musikerinnen, f | 0.5, 2
vendeur, vendeurs, m | seller, sellers; vendor, vendors | Verkäufer, Verkäufer, m | 0.5, 1.5
vendeuse, vendeuses, f | seller, sellers; vendor, vendors | Verkäuferin, Verkäuferinnen, f | 0.5, 1.5
médecin, médecins, m | doctor, doctors; physician, physicians | Arzt, Ärzte, m | 3, 0.4
scientifique, scientifiques, m | scientist, scientists | Wissenschaftler, Wissenschaftler, m | 4, 0.2
professeur, professeurs, m | teacher, teachers; professor, professors | Lehrer, Lehrer, m | 3, 0.5
professeure, professeures, f | teacher, teachers; professor, professors | Lehrerin, Lehrerinnen, f | 3, 0.5
politicien, politiciens, m | politician, politicians | Politiker, Politiker, m | 3, 0.1
avocat, avocats, m | lawyer, lawyers; attorney, attorneys | Anwalt, Anwälte, m | 3, 0.1
patient, patients, m | patient, patients | Patient, Patienten, m, Patienten | 2, 0.2
patiente, patientes, f | patient, patients | Patientin, Patientinnen, f | 2, 0.2
touriste, touristes, m | tourist, tourists | Tourist, Touristen, m, Touristen | 0.5, 1
ingénieur, ingénieurs, m | engineer, engineers | Ingenieur, Ingenieure, m | 3, 0.2
""")
ANIMALS = nouns("animal", """\
chien, chiens, m | dog, dogs ~ hound, hounds | Hund, Hunde, m | 2, 5
chienne, chiennes, f | dog, dogs ~ hound, hounds | Hündin, Hündinnen, f | 1, 4
chat, chats, m | cat, cats | Katze, Katzen, f | 2, 2
cheval, chevaux, m | horse, horses | Pferd, Pferde, n | 1, 3
oiseau, oiseaux, m | bird, birds | Vogel, Vögel, m | 1, 2
vache, vaches, f | cow, cows | Kuh, Kühe, f | 0.4, 1
souris, souris, f | mouse, mice | Maus, Mäuse, f | 1, 0.3
mouton, moutons, m | sheep, sheep | Schaf, Schafe, n | 0.3, 1
singe, singes, m | monkey, monkeys; ape, apes | Affe, Affen, m, Affen | 1, 1
""")
OBJECTS = nouns("object", """\
balle, balles, f | ball, balls | Ball, Bälle, m | 0.5, 4
ballon, ballons, m | ball, balls; football, footballs | Fußball, Fußbälle, m | 0.5, 4
batte, battes, f | bat, bats | Schläger, Schläger, m | 0.2, 2
chauve-souris, chauves-souris, f | bat, bats | Fledermaus, Fledermäuse, f | 1, 1
livre, livres, m | book, books | Buch, Bücher, n | 5, 2 | reading
livre, livres, f | pound, pounds | Pfund, Pfunde, n | 2, 0.1
guitare, guitares, f | guitar, guitars | Gitarre, Gitarren, f | 0.3, 3
violon, violons, m | violin, violins; fiddle, fiddles | Geige, Geigen, f | 0.3, 1.5
vélo, vélos, m | bike, bikes; bicycle, bicycles | Fahrrad, Fahrräder, n | 0.7, 4 | vehicle
voiture, voitures, f | car, cars | Auto, Autos, n | 3, 3 | vehicle
bateau, bateaux, m | boat, boats ~ ship, ships | Boot, Boote, n | 1, 3 | vehicle
navire, navires, m | boat, boats ~ ship, ships | Schiff, Schiffe, n | 1, 2
avion, avions, m | plane, planes; airplane, airplanes | Flugzeug, Flugzeuge, n | 2, 1 | vehicle
cerf-volant, cerfs-volants, m | kite, kites | Drachen, Drachen, m | 0.1, 1.5
avocat, avocats, m | avocado, avocados | Avocado, Avocados, f | 0.2, 2.5 | food
pomme, pommes, f | apple, apples | Apfel, Äpfel, m | 1, 2 | food
glace, glaces, f | ice cream, ice creams | Eis, Eis, n | 0.2, 3 | food
glace, glaces, f | mirror, mirrors | Spiegel, Spiegel, m | 1.5, 0.2
verre, verres, m | glass, glasses | Glas, Gläser, n | 1, 2
vitre, vitres, f | glass, glasses; pane, panes | Scheibe, Scheiben, f | 1, 2
gâteau, gâteaux, m | cake, cakes | Kuchen, Kuchen, m | 0.5, 2 | food
journal, journaux, m | newspaper, newspapers; paper, papers | Zeitung, Zeitungen, f | 2, 1.5 | reading
papier, papiers, m | paper, papers | Papier, Papiere, n | 1.5, 1 | reading
téléphone, téléphones, m | phone, phones; telephone, telephones | Telefon, Telefone, n | 2, 1.5
ordinateur, ordinateurs, m | computer, computers | Computer, Computer, m | 3, 1
parapluie, parapluies, m | umbrella, umbrellas | Regenschirm, Regenschirme, m | 0.2, 2
panneau, panneaux, m | sign, signs | Schild, Schilder, n | 0.4, 2
signe, signes, m | sign, signs | Zeichen, Zeichen, n | 2, 0.8
échelle, échelles, f | ladder, ladders | Leiter, Leitern, f | 0.2, 1.5
échelle, échelles, f | scale, scales | Skala, Skalen, f | 1.5, 0.1
corde, cordes, f | rope, ropes | Seil, Seile, n | 0.2, 2
ongle, ongles, m | nail, nails | Fingernagel, Fingernägel, m | 0.4, 1
clou, clous, m | nail, nails | Nagel, Nägel, m | 0.4, 1.2
malle, malles, f | trunk, trunks | Koffer, Koffer, m | 0.4, 1.2
tronc, troncs, m | trunk, trunks | Stamm, Stämme, m | 0.4, 1.2
pièce, pièces, f | coin, coins | Münze, Münzen, f | 0.4, 2
grue, grues, f | crane, cranes | Kran, Kräne, m | 0.4, 1.2
caisse, caisses, f | box, boxes; crate, crates | Kiste, Kisten, f | 0.6, 1.5
boîte, boîtes, f | box, boxes | Schachtel, Schachteln, f | 0.6, 1.5
lettre, lettres, f | letter, letters | Brief, Briefe, m | 1.5, 1 | reading
assiette, assiettes, f | plate, plates | Teller, Teller, m | 0.5, 1.5
plaque, plaques, f | plate, plates | Platte, Platten, f | 0.5, 1
""")
CLOTHES = nouns("clothing", """\
chemise, chemises, f | shirt, shirts ~ top, tops | Hemd, Hemden, n | 0.6, 4
haut, hauts, m | shirt, shirts ~ top, tops | Oberteil, Oberteile, n | 0.6, 4
veste, vestes, f | jacket, jackets ~ coat, coats | Jacke, Jacken, f | 0.6, 4
manteau, manteaux, m | jacket, jackets ~ coat, coats | Mantel, Mäntel, m | 0.6, 4
chapeau, chapeaux, m | hat, hats ~ cap, caps | Hut, Hüte, m | 0.6, 3
bonnet, bonnets, m | hat, hats ~ cap, caps | Mütze, Mützen, f | 0.6, 3
casque, casques, m | helmet, helmets | Helm, Helme, m | 0.3, 3
robe, robes, f | dress, dresses | Kleid, Kleider, n | 0.3, 3
peignoir, peignoirs, m | robe, robes | Bademantel, Bademäntel, m | 0.1, 1
pantalon, pantalons, m | -, trousers | Hose, Hosen, f | 0.3, 2
jupe, jupes, f | skirt, skirts | Rock, Röcke, m | 0.2, 2
maillot, maillots, m | jersey, jerseys | Trikot, Trikots, n | 0.1, 2
uniforme, uniformes, m | uniform, uniforms | Uniform, Uniformen, f | 0.3, 2
écharpe, écharpes, f | scarf, scarves | Schal, Schals, m | 0.2, 1.5
""")
PLACES = nouns("place", """\
rue, rues, f | street, streets ~ road, roads | Straße, Straßen, f | 1.5, 4 | dans, in, auf
route, routes, f | street, streets ~ road, roads | Fahrbahn, Fahrbahnen, f | 1, 3 | sur, in, auf
plage, plages, f | beach, beaches; shore, shores | Strand, Strände, m | 0.5, 5 | sur, on, an
parc, parcs, m | park, parks | Park, Parks, m | 0.5, 5 | dans, in, in
forêt, forêts, f | forest, forests ~ wood, woods | Wald, Wälder, m | 1, 2 | dans, in, in
bois, bois, m | forest, forests ~ wood, woods | Gehölz, Gehölze, n | 0.7, 2 | dans, in, in
montagne, montagnes, f | mountain, mountains | Berg, Berge, m | 1, 3 | sur, on, auf
neige, -, f | snow, - | Schnee, -, m | 0.3, 3 | dans, in, in
maison, maisons, f | house, houses; home, homes | Haus, Häuser, n | 4, 2 | dans, in, in
magasin, magasins, m | store, stores ~ shop, shops | Laden, Läden, m | 1, 2 | dans, in, in
boutique, boutiques, f | store, stores ~ shop, shops | Boutique, Boutiquen, f | 1, 2 | dans, in, in
rive, rives, f | bank, banks; shore, shores | Ufer, Ufer, n | 0.5, 3 | sur, on, an
banque, banques, f | bank, banks | Bank, Banken, f | 2, 1.5 | dans, in, in
scène, scènes, f | stage, stages | Bühne, Bühnen, f | 1, 3 | sur, on, auf
rivière, rivières, f | river, rivers | Fluss, Flüsse, m | 0.6, 2 | dans, in, in
lac, lacs, m | lake, lakes | See, Seen, m | 0.4, 2 | dans, in, in
ville, villes, f | city, cities; town, towns | Stadt, Städte, f | 4, 2 | dans, in, in
champ, champs, m | field, fields | Feld, Felder, n | 0.6, 3 | dans, in, in
terrain, terrains, m | field, fields; pitch, pitches | Platz, Plätze, m | 0.6, 3 | sur, on, auf
trottoir, trottoirs, m | sidewalk, sidewalks; pavement, pavements | Gehweg, Gehwege, m | 0.1, 3 | sur, on, auf
marché, marchés, m | market, markets | Markt, Märkte, m | 1.5, 2 | sur, in, auf
école, écoles, f | school, schools | Schule, Schulen, f | 3, 1 | dans, in, in
restaurant, restaurants, m | restaurant, restaurants | Restaurant, Restaurants, n | 0.6, 2 | dans, in, in
cuisine, cuisines, f | kitchen, kitchens | Küche, Küchen, f | 0.6, 2 | dans, in, in
pièce, pièces, f | room, rooms | Zimmer, Zimmer, n | 1, 2 | dans, in, in
bureau, bureaux, m | office, offices | Büro, Büros, n | 3, 0.4 | dans, in, in
bureau, bureaux, m | desk, desks | Schreibtisch, Schreibtische, m | 0.4, 2 | devant, in front of, vor
mur, murs, m | wall, walls | Wand, Wände, f | 0.6, 3 | devant, in front of, vor
muraille, murailles, f | wall, walls | Mauer, Mauern, f | 0.4, 2 | sur, on, auf
banc, bancs, m | bench, benches | Sitzbank, Sitzbänke, f | 0.2, 3 | sur, on, auf
pont, ponts, m | bridge, bridges | Brücke, Brücken, f | 0.6, 1.5 | sur, on, auf
tour, tours, f | tower, towers | Turm, Türme, m | 0.5, 1 | devant, in front of, vor
bâtiment, bâtiments, m | building, buildings | Gebäude, Gebäude, n | 1, 4 | devant, in front of, vor
arbre, arbres, m | tree, trees | Baum, Bäume, m | 1, 2 | sous, under, unter
fenêtre, fenêtres, f | window, windows | Fenster, Fenster, n | 0.6, 2 | à côté de, next to, neben
fontaine, fontaines, f | fountain, fountains | Brunnen, Brunnen, m | 0.1, 2 | à côté de, next to, neben
puits, puits, m | well, wells; fountain, fountains | Schacht, Schächte, m | 0.2, 1 | à côté de, next to, neben
""")
ABSTRACTS = nouns("abstract", """\
idée, idées, f | idea, ideas | Idee, Ideen, f | 5, 0.1
problème, problèmes, m | problem, problems; issue, issues | Problem, Probleme, n | 5, 0.1
question, questions, f | question, questions | Frage, Fragen, f | 4, 0.1
histoire, histoires, f | story, stories | Geschichte, Geschichten, f | 4, 0.1
projet, projets, m | project, projects | Projekt, Projekte, n | 4, 0.1
réponse, réponses, f | answer, answers | Antwort, Antworten, f | 4, 0.1
vérité, vérités, f | truth, truths | Wahrheit, Wahrheiten, f | 3, 0.1
loi, lois, f | law, laws | Gesetz, Gesetze, n | 3, 0.1
droit, droits, m | right, rights; law, laws | Recht, Rechte, n | 3, 0.1
monde, mondes, m | world, worlds | Welt, Welten, f | 5, 0.1
vie, vies, f | life, lives | Leben, Leben, n | 5, 0.1
expérience, expériences, f | experience, experiences | Erfahrung, Erfahrungen, f | 3, 0.1
expérience, expériences, f | experiment, experiments | Experiment, Experimente, n | 3, 0.1
raison, raisons, f | reason, reasons | Grund, Gründe, m | 3, 0.1
langue, langues, f | language, languages | Sprache, Sprachen, f | 4, 0.1
entreprise, entreprises, f | company, companies; business, businesses | Firma, Firmen, f | 4, 0.1
système, systèmes, m | system, systems | System, Systeme, n | 4, 0.1
cerveau, cerveaux, m | brain, brains | Gehirn, Gehirne, n | 3, 0.1
maladie, maladies, f | disease, diseases; illness, illnesses | Krankheit, Krankheiten, f | 3, 0.1
machine, machines, f | machine, machines | Maschine, Maschinen, f | 3, 0.3
""")
ADJECTIVES = adjectives("""\
rouge, rouge, after | red | rot | 0.3, 5 | object clothing
bleu, bleue, after | blue | blau | 0.3, 5 | object clothing
vert, verte, after | green | grün | 0.4, 4 | object clothing
noir, noire, after | black | schwarz | 0.5, 5 | object clothing animal
blanc, blanche, after | white | weiß | 0.5, 5 | object clothing animal
jaune, jaune, after | yellow | gelb | 0.2, 3 | object clothing
gris, grise, after | grey; gray | grau | 0.2, 2 | object clothing animal
rose, rose, after | pink | rosafarben | 0.1, 2 | object clothing
brun, brune, after | brown | braun | 0.2, 3 | object clothing animal
orange, orange, invariable | orange | orangefarben | 0.1, 2 | object clothing
rayé, rayée, after | striped | gestreift | 0.05, 2 | object clothing
petit, petite, before | small ~ little | klein | 3, 4 | person object clothing animal place abstract
minuscule, minuscule, after | small ~ little | winzig | 2, 2 | person object clothing animal place abstract
grand, grande, before | big ~ large | groß | 3, 3 | object clothing animal place abstract
gros, grosse, before | big ~ large | dick | 2, 2 | object clothing animal place abstract
grand, grande, before | tall | groß | 1, 3 | person
jeune, jeune, before | young | jung | 2, 5 | person animal
vieux, vieille, before | old ~ elderly | alt | 2, 3 | person animal
nouveau, nouvelle, before | new | neu | 5, 0.5 | object animal place abstract
beau, belle, before | beautiful ~ pretty | schön | 2, 2 | person object clothing animal place
joli, jolie, before | beautiful ~ pretty | hübsch | 1.5, 2 | person object clothing animal place
important, importante, after | important | wichtig | 5, 0.05 | person abstract
intéressant, intéressante, after | interesting | interessant | 4, 0.05 | person abstract
difficile, difficile, after | difficult; hard | schwierig | 4, 0.05 | abstract
célèbre, célèbre, after | famous | berühmt | 3, 0.3 | person abstract
vide, vide, after | empty | leer | 0.3, 2 | object place
bondé, bondée, after | crowded | überfüllt | 0.1, 2 | place
enneigé, enneigée, after | snowy | verschneit | 0.1, 2 | place
blond, blonde, after | blond | blond | 0.2, 3 | person
âgé, âgée, after | old ~ elderly | betagt | 1, 3 | person animal
heureux, heureuse, after | happy | glücklich | 2, 2 | person
lourd, lourde, after | heavy | schwer | 1, 1.5 | object
léger, légère, after | light | leicht | 0.6, 1.5 | object clothing
clair, claire, after | light; bright | hell | 0.6, 2 | object clothing
étrange, étrange, after | strange; weird | seltsam | 2, 0.5 | person object abstract
""")
INTRANSITIVES = verbs("""\
court, courent, couru, courir | run, ran, running | läuft, laufen, ist gelaufen | 1, 6 | person animal
marcher | walk | geht, gehen, ist gegangen | 1.5, 6 | person animal
sauter | jump ~ leap | springt, springen, ist gesprungen | 0.6, 4 | person animal
bondit, bondissent, bondi, bondir | jump ~ leap | hüpft, hüpfen, ist gehüpft | 0.6, 3 | person animal
attend, attendent, attendu, attendre | wait | wartet, warten, gewartet | 2, 3 | person animal
dort, dorment, dormi, dormir | sleep, slept | schläft, schlafen, geschlafen | 1.5, 2 | person animal
jouer | play | spielt, spielen, gespielt | 1.5, 5 | person animal
nager | swim, swam, swimming | schwimmt, schwimmen, ist geschwommen | 0.4, 2 | person animal
danser | dance | tanzt, tanzen, getanzt | 0.4, 3 | person
chanter | sing, sang | singt, singen, gesungen | 0.4, 2 | person
sourit, sourient, souri, sourire | smile ~ grin, grinned, grinning | lächelt, lächeln, gelächelt | 0.6, 3 | person
ricaner | smile ~ grin, grinned, grinning | grinst, grinsen, gegrinst | 0.6, 3 | person
rit, rient, ri, rire | laugh | lacht, lachen, gelacht | 1, 2 | person
travailler | work | arbeitet, arbeiten, gearbeitet | 5, 3 | person
parler | talk ~ speak, spoke | spricht, sprechen, gesprochen | 3, 3 | person
discuter | talk ~ speak, spoke | redet, reden, geredet | 2, 3 | person
grimper | climb | klettert, klettern, ist geklettert | 0.2, 3 | person animal
poser | pose | posiert, posieren, posiert | 0.1, 3 | person
pleurer | cry | weint, weinen, geweint | 1, 1 | person
crier | cry; shout | schreit, schreien, geschrien | 1, 1.5 | person animal
reposer | rest | ruht aus, ausruhen, ausgeruht | 0.3, 2 | person animal
""")
TRANSITIVES = verbs("""\
tient, tiennent, tenu, tenir | hold, held | hält, halten, gehalten | 1, 6 | person | object
lit, lisent, lu, lire | read, read | liest, lesen, gelesen | 3, 3 | person | reading
manger | eat, ate | isst, essen, gegessen | 1, 4 | person animal | food
lancer | throw, threw ~ toss | wirft, werfen, geworfen | 0.6, 3 | person | object
jette, jettent, jeté, jeter | throw, threw ~ toss | schmeißt, schmeißen, geschmissen | 0.6, 3 | person | object
lancer | launch | startet, starten, gestartet | 3, 0.1 | person | abstract
attraper | catch, caught | fängt, fangen, gefangen | 0.3, 3 | person animal | object
regarder | watch ~ view | sieht an, ansehen, angesehen | 1.5, 4 | person animal | object animal place
observer | watch ~ view | beobachtet, beobachten, beobachtet | 1.5, 4 | person | object animal place
achète, achètent, acheté, acheter | buy, bought; purchase | kauft, kaufen, gekauft | 2, 2 | person | object clothing
vend, vendent, vendu, vendre | sell, sold | verkauft, verkaufen, verkauft | 2, 2 | person | object clothing
porter | carry | trägt, tragen, getragen | 0.7, 3 | person animal | object
pousser | push | schiebt, schieben, geschoben | 0.4, 2 | person animal | object
tirer | pull | zieht, ziehen, gezogen | 0.4, 2 | person animal | object
laver | wash | wäscht, waschen, gewaschen | 0.4, 2 | person | object clothing animal
conduit, conduisent, conduit, conduire | drive, drove | fährt, fahren, gefahren | 1, 2 | person | vehicle
peint, peignent, peint, peindre | paint | streicht, streichen, gestrichen | 0.5, 1.5 | person | object
dessiner | paint; draw, drew | malt, malen, gemalt | 0.5, 1.5 | person | object animal
préparer | prepare | bereitet vor, vorbereiten, vorbereitet | 1.5, 2 | person | food abstract
soulève, soulèvent, soulevé, soulever | lift | hebt auf, aufheben, aufgehoben | 0.2, 2 | person | object
ramasser | pick up; lift | sammelt ein, einsammeln, eingesammelt | 0.2, 2 | person | object
voler | steal, stole | stiehlt, stehlen, gestohlen | 2, 0.3 | person | object abstract
écrit, écrivent, écrit, écrire | write, wrote | schreibt, schreiben, geschrieben | 4, 0.5 | person | reading abstract
comprend, comprennent, compris, comprendre | understand, understood | versteht, verstehen, verstanden \
| 5, 0.05 | person | abstract
trouver | find, found | findet, finden, gefunden | 5, 0.3 | person | object abstract
perd, perdent, perdu, perdre | lose, lost | verliert, verlieren, verloren | 4, 0.3 | person | object abstract
changer | change | ändert, ändern, geändert | 5, 0.05 | person | abstract
expliquer | explain | erklärt, erklären, erklärt | 4, 0.05 | person | abstract
montrer | show | zeigt, zeigen, gezeigt | 4, 1 | person | object abstract
créer | create | schafft, schaffen, geschaffen | 4, 0.05 | person | abstract
oublier | forget, forgot, forgetting | vergisst, vergessen, vergessen | 4, 0.05 | person | abstract
construit, construisent, construit, construire | build, built | baut, bauen, gebaut | 3, 1 | person | object abstract
étudier | study | untersucht, untersuchen, untersucht | 4, 0.2 | person | abstract
""")
